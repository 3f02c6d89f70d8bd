// A bad cable: takes a port out of a bridge and stands between the two, delaying every packet and
// losing some. The kernel of the tests' machines has no netem, so this reads frames from the port
// (AF_PACKET) and from a tap device that it puts into the bridge in the port's place. SIGTERM puts
// the port back. Frames carry the kernel's virtio header along, so that unfinished checksums and
// packets larger than the link, as they are inside one machine, pass as they are.
//
//     gpupool-packet-relay PORT BRIDGE DELAY_MS LOSS_PERCENT SEED     (in the bridge's namespace)

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "actors/worker/process.h"
#include "base/clock.h"
#include "base/prng.h"

namespace gpupool::test {
namespace {

constexpr std::size_t frame_bytes_max = 80 * 1024;
constexpr std::size_t frames_max = 4096;  // on their way, each direction; more are lost
constexpr std::uint64_t percent = 100;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  ::_exit(1);
}

ifreq request_for(const std::string& name) {
  ifreq request{};
  std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
  return request;
}

// Frames that left one end and have yet to reach the other.
class Direction {
 public:
  Direction(int from, int to, Duration delay, std::uint64_t loss, Prng rng)
      : from_(from), to_(to), delay_(delay), loss_(loss), rng_(rng) {}

  void take_all(Instant now) {
    std::string frame(frame_bytes_max, '\0');
    for (;;) {
      const ssize_t got = ::read(from_, frame.data(), frame.size());
      if (got <= 0) return;
      if (rng_.below(percent) < loss_ || waiting_.size() >= frames_max) continue;
      waiting_.push_back({now + delay_, frame.substr(0, static_cast<std::size_t>(got))});
    }
  }

  // What can't be written is lost, as on a cable.
  void give_due(Instant now) {
    for (; !waiting_.empty() && waiting_.front().due <= now; waiting_.pop_front()) {
      const std::string& frame = waiting_.front().bytes;
      [[maybe_unused]] const ssize_t written = ::write(to_, frame.data(), frame.size());
    }
  }

  Instant next() const { return waiting_.empty() ? Instant::never() : waiting_.front().due; }
  int source() const { return from_; }

 private:
  struct Frame {
    Instant due{};
    std::string bytes;
  };

  const int from_;
  const int to_;
  const Duration delay_;
  const std::uint64_t loss_;
  Prng rng_;
  std::deque<Frame> waiting_;
};

// Puts `port` into the bridge, or takes it out.
void in_bridge(int control, const std::string& bridge, const std::string& port,
               unsigned long request) {
  ifreq change = request_for(bridge);
  change.ifr_ifindex = static_cast<int>(::if_nametoindex(port.c_str()));
  if (::ioctl(control, request, &change) != 0) fail(port.c_str());
}

FileDescriptor open_tap(int control, const std::string& name) {
  FileDescriptor tap{::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)};
  if (!tap) fail("/dev/net/tun");
  ifreq wish = request_for(name);
  wish.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (::ioctl(tap.get(), TUNSETIFF, &wish) != 0) fail("TUNSETIFF");
  ifreq up = request_for(name);
  up.ifr_flags = IFF_UP | IFF_RUNNING;
  if (::ioctl(control, SIOCSIFFLAGS, &up) != 0) fail("SIOCSIFFLAGS");
  return tap;
}

FileDescriptor open_port(const std::string& name) {
  FileDescriptor port{::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (!port) fail("AF_PACKET");
  const int on = 1;
  if (::setsockopt(port.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) != 0 ||
      ::setsockopt(port.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) != 0)
    fail("setsockopt");
  sockaddr_ll place{};
  place.sll_family = AF_PACKET;
  place.sll_protocol = htons(ETH_P_ALL);
  place.sll_ifindex = static_cast<int>(::if_nametoindex(name.c_str()));
  if (::bind(port.get(), reinterpret_cast<const sockaddr*>(&place), sizeof place) != 0)
    fail(name.c_str());
  return port;
}

void relay(Direction& out, Direction& in, int signals) {
  for (;;) {
    const Instant due = std::min(out.next(), in.next());
    const Duration wait =
        due == Instant::never() ? seconds(10) : std::max(Duration{}, due - boot_time());
    pollfd sources[] = {{out.source(), POLLIN, 0}, {in.source(), POLLIN, 0}, {signals, POLLIN, 0}};
    ::poll(sources, 3, static_cast<int>(wait.ms));
    if (sources[2].revents != 0) return;
    const Instant now = boot_time();
    for (Direction* one : {&out, &in}) {
      one->take_all(now);
      one->give_due(now);
    }
  }
}

int run_program(const std::vector<std::string>& words) {
  if (words.size() != 6) {
    std::fputs("usage: gpupool-packet-relay PORT BRIDGE DELAY_MS LOSS_PERCENT SEED\n", stderr);
    return 2;
  }
  const std::string& port_name = words[1];
  const std::string& bridge = words[2];
  const std::string tap_name = ("relay-" + port_name).substr(0, IFNAMSIZ - 1);
  const Duration delay = milliseconds(std::stol(words[3]));
  const std::uint64_t loss = std::stoul(words[4]);
  const Prng rng(std::stoul(words[5]));

  sigset_t terminate;
  ::sigemptyset(&terminate);
  ::sigaddset(&terminate, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &terminate, nullptr);
  const FileDescriptor signals{::signalfd(-1, &terminate, SFD_CLOEXEC)};
  const FileDescriptor control{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};

  const FileDescriptor tap = open_tap(control.get(), tap_name);
  in_bridge(control.get(), bridge, port_name, SIOCBRDELIF);
  const FileDescriptor port = open_port(port_name);
  in_bridge(control.get(), bridge, tap_name, SIOCBRADDIF);
  std::puts("relays");
  std::fflush(stdout);

  Direction out(port.get(), tap.get(), delay, loss, rng.fork("out"));
  Direction in(tap.get(), port.get(), delay, loss, rng.fork("in"));
  relay(out, in, signals.get());
  in_bridge(control.get(), bridge, tap_name, SIOCBRDELIF);
  in_bridge(control.get(), bridge, port_name, SIOCBRADDIF);
  return 0;
}

}  // namespace
}  // namespace gpupool::test

int main(int count, char** words) { return gpupool::test::run_program({words, words + count}); }
