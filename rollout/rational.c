// Products of two 64-bit integers fit 128 bits, so that one check behind each operation is enough.
#include "rollout/rational.h"

typedef __int128 wide;

static wide gcd(wide a, wide b) {
  while (b != 0) {
    wide rest = a % b;
    a = b, b = rest;
  }
  return a < 0 ? -a : a;
}

static bool reduce(wide num, wide den, zk_rational *out) {
  if (den == 0) return false;
  if (den < 0) num = -num, den = -den;
  wide common = gcd(num, den);
  num /= common, den /= common;
  if (num > INT64_MAX || num < -(wide)INT64_MAX || den > INT64_MAX) return false;
  *out = (zk_rational){(int64_t)num, (int64_t)den};
  return true;
}

bool zk_rational_apply(char op, zk_rational a, zk_rational b, zk_rational *out) {
  if (op == '*') return reduce((wide)a.num * b.num, (wide)a.den * b.den, out);
  if (op == '/') return reduce((wide)a.num * b.den, (wide)a.den * b.num, out);
  wide left = (wide)a.num * b.den, right = (wide)b.num * a.den; // each below 2^126: the sum fits
  return reduce(op == '+' ? left + right : left - right, (wide)a.den * b.den, out);
}

bool zk_rational_equal(zk_rational a, zk_rational b) { return a.num == b.num && a.den == b.den; }

bool zk_rational_from_decimal(const zk_decimal *d, zk_rational *out) {
  wide num = 0, den = 1;
  for (size_t i = 0; i < d->whole_bytes; i++) {
    if (d->whole[i] == ',') continue;
    num = num * 10 + (d->whole[i] - '0');
    if (num > INT64_MAX) return false;
  }
  for (size_t i = 0; i < d->fraction_bytes; i++) {
    num = num * 10 + (d->fraction[i] - '0'), den *= 10;
    if (num > INT64_MAX || den > INT64_MAX) return false;
  }
  return reduce(d->negative ? -num : num, den, out);
}
