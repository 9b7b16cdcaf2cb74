// Runs a fuzz target once over every file of a folder: the seed corpus as an ordinary test, with any compiler.
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t num_bytes);

// Runs the target over one file; the bytes are in a block of their own size, so that a sanitizer sees its end.
static int run_file(const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL || fseek(file, 0, SEEK_END) != 0) return 1;
  size_t num_bytes = (size_t)ftell(file);
  uint8_t *data = malloc(num_bytes > 0 ? num_bytes : 1);
  rewind(file);
  int failed = data == NULL || fread(data, 1, num_bytes, file) != num_bytes;
  if (!failed) LLVMFuzzerTestOneInput(data, num_bytes);
  free(data);
  fclose(file);
  return failed;
}

int main(int argc, char **argv) {
  DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
  int num_files = 0;
  if (dir == NULL) return fprintf(stderr, "usage: %s FOLDER\n", argv[0]), 2;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    char path[4096];
    if (entry->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
    if (run_file(path) != 0) return fprintf(stderr, "cannot read %s\n", path), 2;
    num_files++;
  }
  closedir(dir);
  printf("%d inputs\n", num_files);
  return num_files > 0 ? 0 : 1;
}
