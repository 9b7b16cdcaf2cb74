// sum = product { (+|-) product }; product = term { (*|/) term }; term = [+|-] term | ( sum ) | digits.
#include "rollout/expression.h"

enum { MAX_DEPTH = 32 };

typedef struct {
  const char *at, *end;
  int depth; // parentheses and signs in each other
  zk_expression *out;
} parser;

static bool parse_sum(parser *p, zk_rational *out);

// The next character that is not white space, 0 at the end.
static char peek(parser *p) {
  while (p->at < p->end && (*p->at == ' ' || (*p->at >= '\t' && *p->at <= '\r'))) p->at++;
  return p->at < p->end ? *p->at : 0;
}

static bool parse_integer(parser *p, zk_rational *out) {
  int64_t value = 0;
  if (p->out->num_numbers == ZK_EXPRESSION_MAX_NUMBERS) return false;
  for (; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++) {
    if (value > (INT64_MAX - 9) / 10) return false;
    value = value * 10 + (*p->at - '0');
  }
  p->out->numbers[p->out->num_numbers++] = value;
  *out = (zk_rational){value, 1};
  return true;
}

static bool parse_term(parser *p, zk_rational *out) {
  char c = peek(p);
  if (c >= '0' && c <= '9') return parse_integer(p, out);
  if ((c != '(' && c != '-' && c != '+') || p->depth == MAX_DEPTH) return false;
  p->at++, p->depth++;
  bool ok;
  if (c == '(') ok = parse_sum(p, out) && peek(p) == ')' && p->at++ < p->end;
  else ok = parse_term(p, out) && zk_rational_apply(c, (zk_rational){0, 1}, *out, out);
  p->depth--;
  return ok;
}

static bool parse_product(parser *p, zk_rational *out) {
  zk_rational right;
  if (!parse_term(p, out)) return false;
  for (char op; (op = peek(p)) == '*' || op == '/';) {
    p->at++;
    if (!parse_term(p, &right) || !zk_rational_apply(op, *out, right, out)) return false;
  }
  return true;
}

static bool parse_sum(parser *p, zk_rational *out) {
  zk_rational right;
  if (!parse_product(p, out)) return false;
  for (char op; (op = peek(p)) == '+' || op == '-';) {
    p->at++;
    if (!parse_product(p, &right) || !zk_rational_apply(op, *out, right, out)) return false;
  }
  return true;
}

bool zk_expression_parse(const char *text, size_t num_bytes, zk_expression *out) {
  out->num_numbers = 0;
  parser p = {text, text + num_bytes, 0, out};
  return parse_sum(&p, &out->value) && peek(&p) == 0 && p.at == p.end;
}
