#pragma once
// The start of a command's inner end, in its sandbox or without one: a process that finds its
// order, a socket and two pipes under the numbers of cli/command_inside.h, and nothing else open.

#include <sys/types.h>

#include <string>
#include <vector>

#include "actors/worker/process.h"
#include "base/result.h"

namespace gpupool {

// What the outer end has of it.
struct Launched {
  pid_t pid = 0;
  FileDescriptor socket;
  FileDescriptor output;
  FileDescriptor errors;
};

// The same descriptor out of the way of those numbers; closed at exec.
FileDescriptor moved(int descriptor);

// `words` are executed, with `order` to be read and `program` to be executed in turn. What goes
// wrong after this is written to `errors`. system_failed.
Result<Launched> launch(std::vector<std::string> words, const std::string& order,
                        const FileDescriptor& program);

}  // namespace gpupool
