// SwiGLU (Shazeer 2020): out = silu(gate) * up, silu(g) = g / (1 + exp(-g)).
// Order: s = 1 / (1 + zk_expf(-g)); out = (g * s) * up. Backward: dup = dout * (g * s); dgate = (dout * up) * (s * fma(g, 1 - s, 1)).
// bf16: the same on widened inputs, each output rounded once.
#ifndef ZK_KERNELS_SWIGLU_H
#define ZK_KERNELS_SWIGLU_H

#include "kernels/device.h"

#ifdef __cplusplus
extern "C" {
#endif

// Elementwise over num_elements. out may be gate or up; dgate/dup may alias gate/up/dout elementwise.
zk_status zk_swiglu_forward(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *gate, const void *up, void *out);
zk_status zk_swiglu_backward(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *gate, const void *up,
                             const void *dout, void *dgate, void *dup);

#ifdef __cplusplus
}
#endif
#endif
