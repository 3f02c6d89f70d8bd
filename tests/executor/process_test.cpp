// Callers' own processes: which one is at the other end of a connection, and that exactly what was
// let in is killed, with all that it started.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "actors/worker/process_caller.h"
#include "actors/worker/process_watch.h"
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
