#include "cli/command_launch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "cli/command_inside.h"

namespace gpupool {
namespace {

constexpr int first_free_descriptor = 20;

struct Ends {
  FileDescriptor ours;
  FileDescriptor theirs;
};

Ends make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return {};
  Ends pipe{moved(ends[0]), moved(ends[1])};
  ::fcntl(pipe.ours.get(), F_SETFL, O_NONBLOCK);
  return pipe;
}

Ends make_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return {};
  return {moved(ends[0]), moved(ends[1])};
}

FileDescriptor file_with(const std::string& bytes) {
  FileDescriptor file = moved(::memfd_create("order", MFD_CLOEXEC));
  for (std::size_t at = 0; file && at < bytes.size();) {
    const ssize_t written = ::write(file.get(), bytes.data() + at, bytes.size() - at);
    if (written <= 0) return {};
    at += static_cast<std::size_t>(written);
  }
  if (file) ::lseek(file.get(), 0, SEEK_SET);
  return file;
}

// The other side's, in the order of their numbers.
struct Theirs {
  int output = 0;
  int errors = 0;
  int order = 0;
  int socket = 0;
  int program = 0;
};

// Between fork and exec: only calls that are safe there.
[[noreturn]] void become_inside(char* const* words, const Theirs& theirs) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::setsid();  // the supervisor's SIGTERM is for the outer end
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::dup2(theirs.output, STDOUT_FILENO);
  ::dup2(theirs.errors, STDERR_FILENO);
  ::dup2(theirs.order, inside_order_descriptor);
  ::dup2(theirs.socket, inside_socket_descriptor);
  ::dup2(theirs.program, inside_program_descriptor);
  ::syscall(SYS_close_range, STDERR_FILENO + 1, inside_order_descriptor - 1, 0U);
  ::syscall(SYS_close_range, inside_program_descriptor + 1, ~0U, 0U);
  ::execvp(words[0], words);
  const char* why = std::strerror(errno);
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, words[0], std::strlen(words[0]));
  written = ::write(STDERR_FILENO, ": ", 2);
  written = ::write(STDERR_FILENO, why, std::strlen(why));
  ::_exit(1);
}

}  // namespace

FileDescriptor moved(int descriptor) {
  FileDescriptor old{descriptor};
  return FileDescriptor{::fcntl(old.get(), F_DUPFD_CLOEXEC, first_free_descriptor)};
}

Result<Launched> launch(std::vector<std::string> words, const std::string& order,
                        const FileDescriptor& program) {
  const FileDescriptor order_file = file_with(order);
  Ends socket = make_pair();
  Ends output = make_pipe();
  Ends errors = make_pipe();
  if (!order_file || !socket.theirs || !output.theirs || !errors.theirs || !program)
    return system_error("a descriptor for the command could not be made");
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) return system_error("a process for the command could not be made");
  if (pid == 0)
    become_inside(pointers.data(), {.output = output.theirs.get(),
                                    .errors = errors.theirs.get(),
                                    .order = order_file.get(),
                                    .socket = socket.theirs.get(),
                                    .program = program.get()});
  return Launched{.pid = pid,
                  .socket = std::move(socket.ours),
                  .output = std::move(output.ours),
                  .errors = std::move(errors.ours)};
}

}  // namespace gpupool
