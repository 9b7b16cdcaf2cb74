// The contract version and the process-wide checks of the floating-point environment.
typedef int zk_placeholder;
