// Callers' own processes: which one is at the other end of a connection, and that exactly what was
// let in is killed, with all that it started.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <fstream>

#include "actors/worker/process_caller.h"
#include "actors/worker/process_cgroup.h"
#include "actors/worker/process_guard.h"
#include "actors/worker/process_watch.h"
#include "base/clock.h"
#include "tests/executor/harness.h"

using namespace gpupool;

namespace {

// A process that connects to this one, starts another, and waits to be ended.
class CallerProcess {
 public:
  explicit CallerProcess(std::uint16_t port) {
    int said[2];
    REQUIRE(::pipe(said) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      sockaddr_in here{};
      here.sin_family = AF_INET;
      here.sin_port = htons(port);
      here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
      if (::connect(socket, reinterpret_cast<sockaddr*>(&here), sizeof here) != 0) ::_exit(1);
      sockaddr_in own{};
      socklen_t size = sizeof own;
      ::getsockname(socket, reinterpret_cast<sockaddr*>(&own), &size);
      const pid_t child = ::fork();
      if (child == 0) {
        ::close(socket);
        for (;;) ::pause();
      }
      const int told[2] = {ntohs(own.sin_port), child};
      [[maybe_unused]] const ssize_t written = ::write(said[1], told, sizeof told);
      for (;;) ::pause();
    }
    int told[2] = {0, 0};
    REQUIRE(::read(said[0], told, sizeof told) == sizeof told);
    port_ = static_cast<std::uint16_t>(told[0]);
    child_ = told[1];
    ::close(said[0]);
    ::close(said[1]);
  }
  ~CallerProcess() {
    for (const pid_t one : {pid_, child_}) ::kill(one, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  CallerProcess(const CallerProcess&) = delete;
  CallerProcess& operator=(const CallerProcess&) = delete;

  pid_t pid() const { return pid_; }
  pid_t child() const { return child_; }
  std::uint16_t port() const { return port_; }
  LocalProcess name() const {
    const auto named = process_named(pid_);
    REQUIRE(named);
    return {.pid = named->pid, .started = named->started};
  }

 private:
  pid_t pid_ = 0;
  pid_t child_ = 0;
  std::uint16_t port_ = 0;
};

class Listener {
 public:
  Listener() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in here{};
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&here), sizeof here) == 0);
    REQUIRE(::listen(socket_.get(), 8) == 0);
    socklen_t size = sizeof here;
    ::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&here), &size);
    port_ = ntohs(here.sin_port);
  }
  std::uint16_t port() const { return port_; }

 private:
  FileDescriptor socket_;
  std::uint16_t port_ = 0;
};

bool is_gone(pid_t pid) { return !process_named(pid); }

Instant hours_away() { return boot_time() + hours(1); }

// Of this process, by what the kernel calls them.
std::vector<pid_t> children_named(const std::string& wanted) {
  std::vector<pid_t> found;
  for (const ProcessName& child : descendants_of(::getpid())) {
    std::string name;
    std::getline(std::ifstream("/proc/" + std::to_string(child.pid) + "/comm"), name);
    if (name == wanted) found.push_back(child.pid);
  }
  return found;
}

}  // namespace

TEST_CASE("A process is found by the connection that it holds, and no other one is") {
  const Listener listener;
  const CallerProcess caller(listener.port());
  const CallerProcess another(listener.port());
  const CallerClaim claim{.pid = caller.pid(), .port = caller.port(), .here = listener.port()};
  const auto found = find_caller(claim);
  REQUIRE(found);
  CHECK(*found == caller.name());
  const auto refused = [&](CallerClaim wrong) {
    const auto nobody = find_caller(wrong);
    return !nobody && nobody.error().code == Errc::forbidden;
  };
  CallerClaim wrong = claim;
  wrong.pid = another.pid();  // on the first one's connection
  CHECK(refused(wrong));
  wrong.pid = caller.child();  // which did not make it
  CHECK(refused(wrong));
  for (const pid_t pid : {::getpid(), ::getppid(), pid_t{1}, pid_t{999'999'999}}) {
    wrong.pid = pid;
    CHECK(refused(wrong));
  }
  wrong = claim;
  wrong.here = static_cast<std::uint16_t>(listener.port() + 1);
  CHECK(refused(wrong));
}

TEST_CASE("A process has to be of its Space's cgroup and user") {
  const Listener listener;
  const CallerProcess caller(listener.port());
  CallerClaim claim{.pid = caller.pid(), .port = caller.port(), .here = listener.port()};
  claim.cgroup = "/no-such.slice";
  CHECK_FALSE(find_caller(claim));
  claim.cgroup.clear();
  claim.user = "nobody";
  CHECK_FALSE(find_caller(claim));
  claim.user = "no-such-user";
  CHECK_FALSE(find_caller(claim));
}

TEST_CASE("A caller's process is killed with what it started, and then reported once") {
  const TemporaryFolder folder;
  const Listener listener;
  const CallerProcess caller(listener.port());
  ProcessWatch watch(folder.path() / "processes");
  watch.watch(SlotIndex{3}, caller.name());
  CHECK(watch.take_gone().empty());
  watch.kill(caller.name());
  std::vector<std::pair<SlotIndex, LocalProcess>> gone;
  CHECK(eventually([&] {
    ::waitpid(caller.pid(), nullptr, WNOHANG);
    for (const auto& one : watch.take_gone()) gone.push_back(one);
    return !gone.empty();
  }));
  REQUIRE(gone.size() == 1);
  CHECK(gone.front().first == SlotIndex{3});
  CHECK(is_gone(caller.child()));
  CHECK(watch.take_gone().empty());
  CHECK(std::filesystem::is_empty(folder.path() / "processes"));
}

TEST_CASE("A process that ends by itself is noticed through its descriptor") {
  const TemporaryFolder folder;
  const Listener listener;
  const CallerProcess caller(listener.port());
  ProcessWatch watch(folder.path());
  watch.watch(SlotIndex{0}, caller.name());
  const LocalProcess name = caller.name();
  ::kill(caller.pid(), SIGKILL);
  CHECK(eventually([&] {
    ::waitpid(caller.pid(), nullptr, WNOHANG);
    const auto gone = watch.take_gone();
    return gone.size() == 1 && gone.front().second == name;
  }));
}

TEST_CASE("Another process with the pid of one that was let in is never killed") {
  const TemporaryFolder folder;
  const Listener listener;
  const CallerProcess caller(listener.port());
  LocalProcess earlier = caller.name();
  earlier.started -= 1;
  ProcessWatch watch(folder.path());
  watch.watch(SlotIndex{0}, earlier);
  watch.kill(earlier);
  CHECK(watch.take_gone().size() == 1);
  CHECK_FALSE(is_gone(caller.pid()));
  CHECK_FALSE(is_gone(caller.child()));
}

TEST_CASE("A worker that starts after a crash ends the processes that the last one let in") {
  const TemporaryFolder folder;
  const Listener listener;
  const CallerProcess caller(listener.port());
  const CallerProcess of_nobody(listener.port());
  {
    ProcessWatch crashed(folder.path());
    crashed.watch(SlotIndex{0}, caller.name());
  }
  const ProcessWatch next(folder.path());
  CHECK(eventually([&] {
    ::waitpid(caller.pid(), nullptr, WNOHANG);
    return is_gone(caller.pid()) && is_gone(caller.child());
  }));
  CHECK_FALSE(is_gone(of_nobody.pid()));
  CHECK(std::filesystem::is_empty(folder.path()));
}

// Where this machine lets nobody make control groups, a double fork is found by nobody.
bool may_make_groups() {
  const pid_t child = ::fork();
  if (child == 0)
    for (;;) ::pause();
  const std::string group = set_apart(child, "test-" + std::to_string(child));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  if (group.empty()) WARN("control groups cannot be made here: what left by a double fork stays");
  return !group.empty() && eventually([&] { return clear_cgroup(group); });
}

// The folder of the group that it was put into.
std::string group_of(pid_t pid) {
  std::ifstream lines("/proc/" + std::to_string(pid) + "/cgroup");
  for (std::string line; std::getline(lines, line);) {
    const auto second = line.find(':', line.find(':') + 1);
    const std::string path = line.substr(second + 1);
    if (path.find("gpupool-caller-") == path.npos) continue;
    for (const std::string root : {"/sys/fs/cgroup/pids", "/sys/fs/cgroup/freezer",
                                   "/sys/fs/cgroup/unified", "/sys/fs/cgroup"})
      if (std::filesystem::exists(root + path)) return root + path;
  }
  return {};
}

// A process that, once it is told to, starts another by a double fork and a session of its own, and
// then waits or ends.
class Forker {
 public:
  enum class After { waits, ends };
  explicit Forker(After after) {
    REQUIRE(::pipe(word_) == 0);
    REQUIRE(::pipe(said_) == 0);
    pid_ = ::fork();
    if (pid_ != 0) return;
    char word = 0;
    [[maybe_unused]] ssize_t size = ::read(word_[0], &word, 1);
    const pid_t middle = ::fork();
    if (middle == 0) {
      ::setsid();
      const pid_t last = ::fork();
      if (last != 0) size = ::write(said_[1], &last, sizeof last), ::_exit(0);
      for (;;) ::pause();
    }
    ::waitpid(middle, nullptr, 0);
    if (after == After::ends) ::_exit(0);
    for (;;) ::pause();
  }
  ~Forker() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    if (left_ > 0) ::kill(left_, SIGKILL);
    for (const int end : {word_[0], word_[1], said_[0], said_[1]}) ::close(end);
  }
  Forker(const Forker&) = delete;
  Forker& operator=(const Forker&) = delete;

  LocalProcess name() const {
    const auto named = process_named(pid_);
    REQUIRE(named);
    return {.pid = named->pid, .started = named->started};
  }
  pid_t pid() const { return pid_; }
  pid_t fork_twice() {
    REQUIRE(::write(word_[1], "x", 1) == 1);
    REQUIRE(::read(said_[0], &left_, sizeof left_) == sizeof left_);
    return left_;
  }

 private:
  int word_[2]{};
  int said_[2]{};
  pid_t pid_ = 0;
  pid_t left_ = 0;
};

TEST_CASE("Who leaves by a double fork is killed with the process that was let in") {
  if (!may_make_groups()) return;
  for (const auto after : {Forker::After::waits, Forker::After::ends}) {
    const TemporaryFolder folder;
    Forker forker(after);
    const LocalProcess name = forker.name();
    ProcessWatch watch(folder.path());
    watch.watch(SlotIndex{1}, name);
    const pid_t left = forker.fork_twice();
    CHECK_FALSE(is_gone(left));
    if (after == Forker::After::waits) watch.kill(name);
    CHECK(eventually([&] {
      ::waitpid(forker.pid(), nullptr, WNOHANG);
      return watch.take_gone().size() == 1;
    }));
    CHECK(is_gone(left));
    CHECK(std::filesystem::is_empty(folder.path()));
  }
}

TEST_CASE("A worker that starts after a crash finds who left by a double fork") {
  if (!may_make_groups()) return;
  const TemporaryFolder folder;
  Forker forker(Forker::After::waits);
  {
    ProcessWatch crashed(folder.path());
    crashed.watch(SlotIndex{0}, forker.name());
  }
  const pid_t left = forker.fork_twice();
  const ProcessWatch next(folder.path());
  CHECK(eventually([&] {
    ::waitpid(forker.pid(), nullptr, WNOHANG);
    return is_gone(forker.pid()) && is_gone(left);
  }));
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("A guard kills at the deadline what its worker does not, and nothing that was put off") {
  const TemporaryFolder folder;
  const Listener listener;
  const CallerProcess late(listener.port());
  const CallerProcess extended(listener.port());
  const CallerProcess warm(listener.port());
  ProcessWatch watch(folder.path(), built("gpupool-supervisor"));
  std::uint32_t slot = 0;
  for (const CallerProcess* one : {&late, &extended, &warm}) {
    watch.watch(SlotIndex{slot}, one->name());
    watch.end_by(SlotIndex{slot++}, boot_time() + milliseconds(50));
  }
  watch.end_by(SlotIndex{1}, boot_time() + hours(1));
  watch.end_by(SlotIndex{2}, Instant::never());
  // Nobody looks at the watch meanwhile, as where its worker stands still.
  CHECK(eventually([&] {
    ::waitpid(late.pid(), nullptr, WNOHANG);
    return is_gone(late.pid()) && is_gone(late.child());
  }));
  CHECK_FALSE(is_gone(extended.pid()));
  CHECK_FALSE(is_gone(warm.pid()));
  CHECK(watch.take_gone().size() == 1);
}

TEST_CASE("A guard outlives its worker until what that let in is gone") {
  const TemporaryFolder folder;
  const Listener listener;
  const CallerProcess caller(listener.port());
  const CallerProcess forgotten(listener.port());
  {
    ProcessGuard guard(built("gpupool-supervisor"));
    CHECK(guard.guard({.pid = caller.pid(), .started = caller.name().started}, {}, hours_away()));
    const ProcessName other{.pid = forgotten.pid(), .started = forgotten.name().started};
    CHECK(guard.guard(other, {}, hours_away()));
    guard.forget(other);
  }
  ::waitpid(caller.pid(), nullptr, WNOHANG);
  CHECK(is_gone(caller.pid()));
  CHECK(is_gone(caller.child()));
  CHECK_FALSE(is_gone(forgotten.pid()));
}

TEST_CASE("A guard that is lost is started again, and knows what there is to guard") {
  const TemporaryFolder folder;
  const Listener listener;
  const CallerProcess caller(listener.port());
  {
    ProcessWatch watch(folder.path(), built("gpupool-supervisor"));
    watch.watch(SlotIndex{0}, caller.name());
    const auto guards = children_named("gpupool-supervi");
    REQUIRE(guards.size() == 1);
    ::kill(guards.front(), SIGKILL);
    CHECK(eventually([&] {
      CHECK(watch.take_gone().empty());
      const auto now = children_named("gpupool-supervi");
      return now.size() == 1 && now != guards;
    }));
  }
  CHECK(eventually([&] {
    ::waitpid(caller.pid(), nullptr, WNOHANG);
    return is_gone(caller.pid());
  }));
}

TEST_CASE("Without a guard's program a process is watched all the same") {
  const TemporaryFolder folder;
  const Listener listener;
  const CallerProcess caller(listener.port());
  ProcessWatch watch(folder.path(), folder.path() / "gone");
  watch.watch(SlotIndex{0}, caller.name());
  watch.kill(caller.name());
  CHECK(eventually([&] {
    ::waitpid(caller.pid(), nullptr, WNOHANG);
    return watch.take_gone().size() == 1;
  }));
}

TEST_CASE("Groups that were made below a process' own end with it") {
  if (!may_make_groups()) return;
  const TemporaryFolder folder;
  const Listener listener;
  const CallerProcess caller(listener.port());
  ProcessWatch watch(folder.path());
  watch.watch(SlotIndex{0}, caller.name());
  const std::string group = group_of(caller.pid());
  REQUIRE_FALSE(group.empty());
  REQUIRE(std::filesystem::create_directory(group + "/below"));
  std::ofstream{group + "/below/cgroup.procs"} << caller.pid();
  watch.kill(caller.name());
  CHECK(eventually([&] {
    ::waitpid(caller.pid(), nullptr, WNOHANG);
    return watch.take_gone().size() == 1;
  }));
  CHECK_FALSE(std::filesystem::exists(group));
}
