// Found as libcuda.so.1, a driver of CUDA 11.4.
int cuDriverGetVersion(int *version);

int cuDriverGetVersion(int *version) {
  *version = 11040;
  return 0;
}
