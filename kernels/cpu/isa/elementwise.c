typedef int zk_placeholder;
