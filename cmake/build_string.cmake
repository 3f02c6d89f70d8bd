# Writes OUTPUT, the source of build_string() (cli/build.h), from VERSION and the git checkout in
# SOURCE_DIR, if there is one. Run at every build: cmake -DVERSION=... -P build_string.cmake
set(BUILD_STRING ${VERSION})
find_program(GIT git)
if(GIT)
  # A tree that only lies inside some other checkout has no commit of its own.
  execute_process(COMMAND ${GIT} -C ${SOURCE_DIR} rev-parse --show-toplevel
    OUTPUT_VARIABLE top OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  file(REAL_PATH ${SOURCE_DIR} source)
  if(top STREQUAL source)
    execute_process(
      COMMAND ${CMAKE_COMMAND} -E env GIT_OPTIONAL_LOCKS=0
        ${GIT} -C ${SOURCE_DIR} describe --always --dirty=.dirty --abbrev=12 --exclude=*
      OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(commit)
      string(APPEND BUILD_STRING "+${commit}")
    endif()
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT [[#include "cli/build.h"

namespace gpupool {

const std::string& build_string() {
  static const std::string build = "@BUILD_STRING@";
  return build;
}

}  // namespace gpupool
]])
