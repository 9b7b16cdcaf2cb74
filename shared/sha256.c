// SHA-256 of bytes and of files, by libcrypto.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "shared/file_util.h"

static zk_status finish(EVP_MD_CTX *context, char out_hex[ZK_SHA256_HEX]) {
  static const char digits[] = "0123456789abcdef";
  unsigned char raw[32];
  if (EVP_DigestFinal_ex(context, raw, NULL) != 1) return ZK_FAIL(ZK_INTERNAL, "libcrypto could not finish a SHA-256");
  for (int i = 0; i < 32; i++) {
    out_hex[2 * i] = digits[raw[i] >> 4];
    out_hex[2 * i + 1] = digits[raw[i] & 15];
  }
  out_hex[64] = 0;
  return ZK_OK;
}

static zk_status begin(EVP_MD_CTX **out) {
  *out = EVP_MD_CTX_new();
  if (*out && EVP_DigestInit_ex(*out, EVP_sha256(), NULL) == 1) return ZK_OK;
  EVP_MD_CTX_free(*out);
  *out = NULL;
  return ZK_FAIL(ZK_INTERNAL, "libcrypto could not begin a SHA-256");
}

zk_status zk_sha256(const void *data, size_t num_bytes, char out_hex[ZK_SHA256_HEX]) {
  EVP_MD_CTX *context;
  ZK_TRY(begin(&context));
  zk_status st = EVP_DigestUpdate(context, data, num_bytes) == 1
                     ? finish(context, out_hex)
                     : ZK_FAIL(ZK_INTERNAL, "libcrypto could not digest %zu bytes", num_bytes);
  EVP_MD_CTX_free(context);
  return st;
}

static zk_status digest_fd(EVP_MD_CTX *context, int fd, const char *path, uint64_t *out_bytes) {
  enum { BLOCK_BYTES = 1 << 18 };
  unsigned char *block = malloc(BLOCK_BYTES);
  if (!block) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: cannot allocate %d bytes to digest it", path, BLOCK_BYTES);
  zk_status st = ZK_OK;
  for (ssize_t got = 1; st == ZK_OK && got;) {
    got = read(fd, block, BLOCK_BYTES);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) st = ZK_FAIL(ZK_IO, "%s: cannot read: %s", path, strerror(errno));
    else if (got && EVP_DigestUpdate(context, block, (size_t)got) != 1)
      st = ZK_FAIL(ZK_INTERNAL, "%s: libcrypto could not digest it", path);
    else *out_bytes += (uint64_t)got;
  }
  free(block);
  return st;
}

zk_status zk_sha256_file(const char *path, char out_hex[ZK_SHA256_HEX], uint64_t *out_bytes) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ZK_FAIL(ZK_IO, "%s: cannot open: %s", path, strerror(errno));
  EVP_MD_CTX *context = NULL;
  uint64_t num_bytes = 0;
  zk_status st = begin(&context);
  if (st == ZK_OK) st = digest_fd(context, fd, path, &num_bytes);
  if (st == ZK_OK) st = finish(context, out_hex);
  if (st == ZK_OK && out_bytes) *out_bytes = num_bytes;
  EVP_MD_CTX_free(context);
  close(fd);
  return st;
}
