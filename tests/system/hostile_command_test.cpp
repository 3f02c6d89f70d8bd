// Commands that mean harm, on a real pool. After each its slot is lent again, none of its processes
// is left, and the books add up. Where a sandbox is not what stops them, both ways are tried.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "tests/system/command_pool.h"

namespace gpupool::test {
namespace {

using nlohmann::json;

bool says(const std::string& text, const std::string& words) {
  return text.find(words) != std::string::npos;
}

const std::vector<std::string> both_apps{"run", "bare"};

}  // namespace

TEST_CASE("A fork bomb is bounded, and gone at its end") {
  const CommandPool pool;
  for (const std::string& app : both_apps) {
    INFO(app);
    const Output output = pool.python(
        "import os, time\n"
        "while True:\n"
        "  try: os.fork()\n"
        "  except OSError: time.sleep(0.05)\n",
        {"--app", app, "--duration", "2"});
    CHECK(output.exit_code == 124);
    check_aftermath(pool);
  }
}

TEST_CASE("Who leaves the process group and the session does not outlive the command") {
  const CommandPool pool;
  for (const std::string& app : both_apps) {
    INFO(app);
    const Output output = pool.shell(
        "setsid sh -c 'trap \"\" TERM; env -i sleep 1000 & setsid sleep 1001 & sleep 1002' "
        ">/dev/null 2>&1 & echo started",
        {"--app", app});
    CHECK(output.exit_code == 0);
    CHECK(output.out == "started\n");
    check_aftermath(pool);
  }
}

TEST_CASE("A memory hog fails alone, by its own fault") {
  const CommandPool pool;
  for (const std::string& app : both_apps) {
    INFO(app);
    const Output output =
        pool.python("a = []\nwhile True: a.append(bytearray(10**7))", {"--app", app});
    CHECK(output.exit_code == 1);
    CHECK(says(output.error, "MemoryError"));
    check_aftermath(pool);
  }
}

TEST_CASE("Processes that are small each are bounded together, where there are control groups") {
  if (::geteuid() != 0 || !std::filesystem::exists("/sys/fs/cgroup/memory/cgroup.procs")) {
    WARN("skipped: needs root and the memory hierarchy of cgroup v1");
    return;
  }
  const CommandPool pool;
  const Output output = pool.python(
      "import os\n"
      "for i in range(20):\n"
      "  if os.fork() == 0:\n"
      "    a = bytearray(10**8)\n"
      "    for k in range(0, len(a), 4096): a[k] = 1\n"
      "    import time; time.sleep(5); os._exit(0)\n"
      "killed = sum(os.wait()[1] != 0 for i in range(20))\n"
      "print('some killed' if killed > 0 else 'none killed')\n");
  CHECK(output.out == "some killed\n");
  check_aftermath(pool);
}

TEST_CASE("A flood of output is cut, says so, and does not hide the last error") {
  const CommandPool pool;
  const Output output =
      pool.shell("yes | head -c 10000000000; echo the end >&2", {"--duration", "60"});
  CHECK(output.exit_code == 0);
  CHECK(output.out.size() < 1'100'000);
  CHECK(says(output.error, "the end\n"));
  CHECK(says(output.error, "more bytes were written and not kept"));
  check_aftermath(pool);
}

TEST_CASE("What is left in the out folder comes back as plain files only") {
  const CommandPool pool;
  const Output output = pool.shell(
      "cd $GPUPOOL_OUT; ln -s /etc/passwd link; ln -s / root; mkfifo pipe; echo x > good; "
      "mkdir -p a/b; echo y > a/b/c; ln good hard; "
      "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'; "
      "touch \"$(printf 'new\\nline')\"",
      {"--out", (pool.folder() / "out").string()});
  CHECK(output.exit_code == 0);
  CHECK(bytes_of(pool.folder() / "out/good") == "x\n");
  CHECK(bytes_of(pool.folder() / "out/a/b/c") == "y\n");
  CHECK(bytes_of(pool.folder() / "out/hard") == "x\n");
  for (const char* name : {"link", "root", "pipe", "sock"}) {
    INFO(name);
    CHECK_FALSE(
        std::filesystem::exists(std::filesystem::symlink_status(pool.folder() / "out" / name)));
    CHECK(says(output.error, "\"" + std::string(name) + "\""));
  }
  check_aftermath(pool);
}

TEST_CASE("An upload that lies about itself, or has a link in it, fails its own run alone") {
  const CommandPool pool;
  const auto client = pool.client("ada");
  const auto submit_with = [&](const std::string& files) {
    std::string words("true");
    words.push_back('\0');
    JobRequest request{.app = "run", .declared = seconds(10)};
    request.arguments = {{"command", words}, {"files", files}};
    REQUIRE(client->submit(new_request(), request));
  };
  const auto hash = client->upload(std::string(1000, 'g'));
  REQUIRE(hash);
  submit_with(*hash);
  const auto done = wait_for_end(*client);
  REQUIRE(done);
  CHECK(done->receipt.outcome == Outcome::failed);
  CHECK(done->receipt.cause == Errc::program_failed);
  CHECK(says(done->receipt.detail, "no tar archive"));
  CHECK(done->receipt.charged == GpuTime{});
  submit_with(std::string(64, 'e'));
  const auto refused = wait_for_refusal(*client);
  REQUIRE(refused);
  CHECK(refused->code == Errc::bad_request);
  CHECK(says(refused->detail, "upload them first"));
  check_aftermath(pool);
}

TEST_CASE("From the inside there is no way to the broker, the loopback or the world") {
  const CommandPool pool;
  const std::string port = pool.endpoint().substr(pool.endpoint().rfind(':') + 1);
  const std::string script =
      "import socket\n"
      "for to in (('127.0.0.1', " +
      port +
      "), ('10.0.0.1', 80)):\n"
      "  s = socket.socket(); s.settimeout(2)\n"
      "  try: s.connect(to); print('open')\n"
      "  except OSError: print('closed')\n";
  CHECK(pool.python(script).out == "closed\nclosed\n");
  CHECK(pool.python(script, {"--app", "bare"}).out.starts_with("open\n"));  // as it is documented
  check_aftermath(pool);
}

TEST_CASE("From the inside nothing of the machine can be changed, or its secrets read") {
  const CommandPool pool;
  const Output output = pool.python(
      "import os, ctypes\n"
      "for p in ('/usr/x', '/etc/x', '/x', '/dev/x', '/proc/sys/kernel/hostname'):\n"
      "  try: open(p, 'w'); print('wrote', p)\n"
      "  except OSError: pass\n"
      "for p in ('/root', '/home', '/var', '/run', '/sys', '/etc/shadow', '" +
      pool.folder().string() +
      "'):\n"
      "  if os.path.exists(p): print('sees', p)\n"
      "l = ctypes.CDLL(None)\n"
      "if l.unshare(0x10000000) == 0: print('has namespaces')\n"
      "if l.mount(b'x', b'/tmp', b'tmpfs', 0, 0) == 0: print('mounts')\n"
      "if l.ptrace(16, 1, 0, 0) == 0: print('traces')\n"
      "if os.getuid() == 0: print('is root')\n"
      "print(open('/proc/self/status').read().split('NoNewPrivs:')[1].split()[0])\n"
      "print(len([p for p in os.listdir('/proc') if p.isdigit()]))\n");
  INFO(output.error);
  CHECK(output.out == "1\n2\n");
  check_aftermath(pool);
}

TEST_CASE("A command fills its own scratch space and nobody else's") {
  const CommandPool pool;
  const Output output = pool.shell(
      "for d in $HOME $TMPDIR /dev/shm; do head -c 90000000 /dev/zero > $d/x && echo full $d; rm "
      "-f $d/x; "
      "done; true");
  CHECK(output.out.empty());
  CHECK(says(output.error, "No space left"));
  check_aftermath(pool);
}

TEST_CASE("A command that ignores every signal ends when its time is over") {
  const CommandPool pool;
  for (const std::string& app : both_apps) {
    INFO(app);
    const json said =
        json_of(pool.python("import signal, time\n"
                            "for s in range(1, 65):\n"
                            "  try: signal.signal(s, signal.SIG_IGN)\n"
                            "  except (OSError, ValueError): pass\n"
                            "print('deaf', flush=True)\n"
                            "time.sleep(1000)\n",
                            {"--app", app, "--duration", "2", "--json"}));
    CHECK(said["exit_code"] == 124);
    CHECK(said["output"] == "deaf\n");
    CHECK(said["receipt"]["outcome"] == "expired");
    CHECK(said["receipt"]["charged_ms"] == 2'000);
    check_aftermath(pool);
  }
}

TEST_CASE("A command that closes its outputs, or ends at once, is a run like any other") {
  const CommandPool pool;
  for (const std::string& app : both_apps) {
    INFO(app);
    CHECK(pool.shell("exec <&- >&- 2>&-; sleep 0.2; exit 5", {"--app", app}).exit_code == 5);
    for (int i = 0; i < 5; ++i) CHECK(pool.run({"false"}, {"--app", app}).exit_code == 1);
    check_aftermath(pool);
  }
}

TEST_CASE(
    "A killed supervisor takes its command with it, and the pool says that it was its fault") {
  const CommandPool pool;
  const std::filesystem::path log = pool.folder() / "log";
  pool.gpupool_in_background("ada", {"run", "--", "sh", "-c", "echo on; exec sleep 1000"}, log);
  // One that had not begun would only run again.
  REQUIRE(wait_until(seconds(20), [&] { return says(bytes_of(log), "on\n"); }));
  REQUIRE(pool.kill_command_executor());
  CHECK(wait_until(seconds(20), [&] { return says(bytes_of(log), "failed"); }));
  check_aftermath(pool);
}

}  // namespace gpupool::test
