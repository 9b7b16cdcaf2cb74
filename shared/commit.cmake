# Writes ZK_HEADER, which defines ZK_COMMIT: the commit of ZK_SOURCE, with -dirty behind it where tracked files differ from it.
# A header that says so already is left alone, so that nothing is compiled again.
cmake_minimum_required(VERSION 3.22...3.24)
execute_process(COMMAND git describe --always --dirty --exclude=* WORKING_DIRECTORY ${ZK_SOURCE} OUTPUT_VARIABLE ZK_COMMIT
  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT ZK_COMMIT)
  set(ZK_COMMIT "unknown")
endif()
file(CONFIGURE OUTPUT ${ZK_HEADER} CONTENT "#define ZK_COMMIT \"@ZK_COMMIT@\"\n" @ONLY)
