// Bodies of kernels/math.h.
