// The parameter table: names in bytewise order, offsets cumulative, a tied head once, look-ups both ways.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "shared/params.h"

static zk_model_config config_of(zk_model_architecture architecture, int num_layers, int tie) {
  zk_model_config c = zk_model_config_default(architecture);
  c.num_layers = num_layers, c.hidden = 24, c.num_heads = 6, c.num_kv_heads = 2, c.head_dim = 8, c.intermediate = 40,
  c.vocab = 50;
  c.tie_embeddings = tie;
  assert_int_equal(zk_model_config_check(&c), ZK_OK);
  return c;
}

static void order_offsets_and_shapes(void **state) {
  (void)state;
  for (int architecture = 0; architecture < ZK_NUM_MODEL_ARCHITECTURES; architecture++)
    for (int tie = 0; tie < 2; tie++) {
      zk_model_config c = config_of((zk_model_architecture)architecture, 12, tie);
      zk_params params;
      assert_int_equal(zk_params_create(&c, &params), ZK_OK);
      int per_layer = 9 + 3 * c.qkv_bias + 2 * c.qk_norm;
      assert_int_equal(params.num_params, 12 * per_layer + 2 + !tie);
      int64_t next = 0;
      for (int i = 0; i < params.num_params; i++) {
        const zk_param *p = &params.params[i];
        if (i) assert_true(strcmp(params.params[i - 1].name, p->name) < 0);
        assert_int_equal(p->first, next);
        assert_int_equal(p->num_elements, p->rows * p->cols);
        assert_int_equal(p->decay, p->num_dims == 2);
        assert_int_equal(zk_params_find(&params, p->name), i);
        assert_int_equal(zk_params_index(&params, p->kind, p->layer), i);
        assert_int_equal(zk_params_of_element(&params, next), i);
        next += p->num_elements;
        assert_int_equal(zk_params_of_element(&params, next - 1), i);
      }
      assert_int_equal(params.num_elements, next);
      assert_int_equal(zk_params_of_element(&params, next), -1);
      assert_int_equal(zk_params_of_element(&params, -1), -1);
      zk_params_destroy(&params);
    }
}

static void look_ups(void **state) {
  (void)state;
  zk_model_config c = config_of(ZK_MODEL_LLAMA, 12, 1);
  zk_params params;
  assert_int_equal(zk_params_create(&c, &params), ZK_OK);
  int embed = zk_params_index(&params, ZK_PARAM_EMBED, 0);
  assert_int_equal(embed, 0); // "model.embed_tokens.weight" is the least name of a tied model
  assert_int_equal(zk_params_index(&params, ZK_PARAM_LM_HEAD, 0), embed);
  assert_int_equal(zk_params_find(&params, "lm_head.weight"), -1);
  assert_int_equal(zk_params_index(&params, ZK_PARAM_Q_B, 3), -1);
  assert_int_equal(zk_params_index(&params, ZK_PARAM_Q_NORM, 3), -1);
  assert_int_equal(zk_params_index(&params, ZK_PARAM_Q_W, 12), -1);
  assert_int_equal(zk_params_index(&params, ZK_PARAM_Q_W, -1), -1);
  // bytewise, so layer 10 stands before layer 2
  assert_true(zk_params_index(&params, ZK_PARAM_Q_W, 10) < zk_params_index(&params, ZK_PARAM_Q_W, 2));
  const zk_param *down = &params.params[zk_params_index(&params, ZK_PARAM_DOWN, 7)];
  assert_string_equal(down->name, "model.layers.7.mlp.down_proj.weight");
  assert_int_equal(down->rows, 24);
  assert_int_equal(down->cols, 40);
  const zk_param *k = &params.params[zk_params_index(&params, ZK_PARAM_K_W, 0)];
  assert_int_equal(k->rows, 16);
  assert_int_equal(k->cols, 24);
  zk_params_destroy(&params);

  c.tie_embeddings = 0;
  assert_int_equal(zk_params_create(&c, &params), ZK_OK);
  assert_string_equal(params.params[zk_params_index(&params, ZK_PARAM_LM_HEAD, 0)].name, "lm_head.weight");
  zk_params_destroy(&params);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(order_offsets_and_shapes), cmocka_unit_test(look_ups)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
