// W of bf16's attention from its table. Entry k is the first fraction, in units of 2^-17, whose power of two is rounded to 1 + (k + 1) / 128 or above.
// Rounding is to the nearest, but for 30621 and 116090: within 2^-25 above the middle between two numbers, they are rounded down.
#include "kernels/reference/exp2_bf16_table.h"

#include <math.h>

#include "kernels/math.h"

const int32_t zk_exp2_bf16_table[128] = {
    738, 2204, 3658, 5102, 6534, 7956, 9367, 10768, 12158, 13539, 14909, 16269, 17620, 18961, 20293, 21615,
    22928, 24232, 25528, 26814, 28092, 29361, 30622, 31874, 33118, 34354, 35582, 36802, 38014, 39218, 40415, 41604,
    42786, 43961, 45128, 46288, 47441, 48587, 49726, 50859, 51984, 53103, 54216, 55321, 56421, 57514, 58601, 59681,
    60756, 61824, 62886, 63943, 64993, 66038, 67077, 68110, 69138, 70160, 71177, 72188, 73194, 74194, 75190, 76180,
    77165, 78144, 79119, 80089, 81054, 82013, 82968, 83919, 84864, 85805, 86741, 87673, 88600, 89522, 90440, 91353,
    92263, 93167, 94068, 94964, 95856, 96744, 97627, 98507, 99382, 100254, 101121, 101985, 102844, 103700, 104552, 105400,
    106244, 107084, 107921, 108754, 109583, 110409, 111231, 112050, 112865, 113676, 114485, 115289, 116091, 116888, 117683, 118474,
    119262, 120047, 120828, 121606, 122381, 123153, 123922, 124687, 125450, 126209, 126966, 127719, 128469, 129217, 129961, 130703};

float zk_exp2_bf16_by_table(float t) {
  if (t != t) return t;
  if (t < -126.0f) return 0.0f;
  if (t > -64.0f) t = -64.0f;
  const float whole = floorf(t);
  const int32_t fraction = (int32_t)((t - whole) * 131072.0f); // exact: an ulp of t is 2^-17
  int32_t k = 0;
  while (k < 128 && zk_exp2_bf16_table[k] <= fraction) k++;
  return zk_math_pow2f((int32_t)whole) * (1.0f + (float)k / 128.0f);
}
