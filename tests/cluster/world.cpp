#include "tests/cluster/world.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace gpupool::test {
namespace {

constexpr int namespaces = CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID;

int code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::_Exit(1);
}

void put_mount(const char* kind, const char* where) {
  ::mkdir(where, 0755);
  if (::mount(kind, where, kind, 0, nullptr) != 0) fail(where);
}

bool is_there(const char* program) {
  for (const char* folder : {"/usr/sbin", "/usr/bin", "/sbin", "/bin"})
    if (::access((std::filesystem::path(folder) / program).c_str(), X_OK) == 0) return true;
  return false;
}

// The first process of the world: orphans become its children, and somebody has to reap them.
[[noreturn]] void be_first(const std::function<int()>& inner) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // What is mounted here stays here, and /proc shows this world's processes.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) fail("mount /");
  put_mount("proc", "/proc");
  put_mount("tmpfs", "/run/netns");
  const pid_t test = ::fork();
  if (test < 0) fail("fork");
  if (test == 0) std::exit(inner());
  for (;;) {
    int status = 0;
    const pid_t ended = ::wait(&status);
    if (ended == test) std::_Exit(code_of(status));
    if (ended < 0 && errno != EINTR) std::_Exit(1);
  }
}

}  // namespace

std::string why_no_world() {
  if (::geteuid() != 0) return "network namespaces need root";
  for (const char* program : {"ip", "nft", "nsenter", "setpriv"})
    if (!is_there(program)) return std::string(program) + " is missing";
  if (::access("/dev/net/tun", R_OK | W_OK) != 0) return "there is no /dev/net/tun";
  if (!std::filesystem::exists("/usr/lib/postgresql")) return "PostgreSQL is missing";
  const pid_t trial = ::fork();
  if (trial == 0) ::_exit(::unshare(namespaces) == 0 ? 0 : errno);
  int status = 0;
  while (::waitpid(trial, &status, 0) < 0 && errno == EINTR) {
  }
  if (code_of(status) == 0) return "";
  return std::string("namespaces can't be made here: ") + std::strerror(code_of(status));
}

int run_in_own_world(const std::function<int()>& inner) {
  if (::unshare(namespaces) != 0) fail("unshare");
  const pid_t first = ::fork();
  if (first < 0) fail("fork");
  if (first == 0) be_first(inner);
  int status = 0;
  while (::waitpid(first, &status, 0) < 0 && errno == EINTR) {
  }
  return code_of(status);
}

}  // namespace gpupool::test
