// report.css and report.js in the program, byte for byte, with a NUL behind each.
#include "shared/report_parts.h"

// ZK_ASSETS: the folder that they are in, as CMake tells it.
#define ASSET(symbol, file)                                                                                            \
  __asm__(".pushsection .rodata\n.global " #symbol "\n" #symbol ":\n.incbin \"" ZK_ASSETS "/" file "\"\n.byte 0\n.popsection\n")

ASSET(zk_report_css, "report.css");
ASSET(zk_report_js, "report.js");
