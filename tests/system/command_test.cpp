// Commands on a real pool: what they get, what they give back, and what they cost.
#include <catch2/catch.hpp>
#include <cstdlib>

#include "tests/system/command_pool.h"

namespace gpupool::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

void write(const fs::path& file, const std::string& text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file) << text;
}

bool says(const std::string& text, const std::string& words) {
  return text.find(words) != std::string::npos;
}

// gpupool as ada, by a shell that leads its outputs somewhere; what it returns.
int by_a_shell(const CommandPool& pool, const std::string& words) {
  const std::string line = "GPUPOOL_TOKEN='" + pool.token("ada") + "' '" +
                           program("gpupool").string() + "' --endpoint '" + pool.endpoint() + "' " +
                           words;
  return WEXITSTATUS(std::system(line.c_str()));
}

}  // namespace

TEST_CASE("A command's outputs come apart and its exit code is the client's") {
  const CommandPool pool;
  const Output output = pool.shell("echo out; echo err >&2; exit 7");
  CHECK(output.out == "out\n");
  CHECK(says(output.error, "err\n"));
  CHECK(output.exit_code == 7);
  CHECK(pool.run({"true"}).exit_code == 0);
  CHECK(pool.shell("kill -9 $$").exit_code == 128 + 9);
  CHECK(pool.run({"nosuchprogram"}).exit_code == 127);
  CHECK(pool.run({"/etc"}).exit_code == 126);
  CHECK(pool.shell("exit 124").exit_code == 124);
  check_aftermath(pool);
}

TEST_CASE("Words reach a command as they were typed, and nobody expands them") {
  const CommandPool pool;
  const Output output =
      pool.run({"printf", "%s|", "a b", "$HOME", "*", "", "'\"", "{x}", "\xc3\xa4"});
  CHECK(output.out == "a b|$HOME|*||'\"|{x}|\xc3\xa4|");
}

TEST_CASE("A command's receipt has its code, its log, and what it ran; only that is charged") {
  const CommandPool pool;
  const json said = json_of(pool.shell("sleep 0.3; echo hi; exit 3", {"--json"}));
  CHECK(said["exit_code"] == 3);
  CHECK(said["output"] == "hi\n");
  const json& receipt = said["receipt"];
  CHECK(receipt["outcome"] == "failed");
  CHECK(receipt["cause"] == "program_failed");
  CHECK(receipt["exit_code"] == 3);
  CHECK(receipt["charged_ms"] == receipt["ran_ms"]);
  CHECK(receipt["ran_ms"] >= 300);
  CHECK(receipt["log"]["bytes"] == 3);
  const Output log = pool.gpupool("ada", {"logs", receipt["job"].dump()});
  CHECK(log.out == "hi\n");
}

TEST_CASE("Output is there while the command runs") {
  const CommandPool pool;
  const fs::path file = pool.folder() / "live";
  const pid_t client = pool.gpupool_in_background(
      "ada", {"run", "--", "sh", "-c", "echo first; sleep 60; echo last"}, file);
  CHECK(wait_until(seconds(20), [&] { return says(bytes_of(file), "first\n"); }));
  kill(client, SIGINT);
  CHECK(wait_until(seconds(20), [&] { return says(bytes_of(file), "cancelled"); }));
  CHECK_FALSE(says(bytes_of(file), "last"));
  check_aftermath(pool);
}

TEST_CASE("Output that can't be written here is said, and is no success") {
  const CommandPool pool;
  const fs::path errors = pool.folder() / "errors";
  const std::string to_errors = " 2>'" + errors.string() + "'";
  CHECK(by_a_shell(pool, "run -- seq 3 >/dev/full" + to_errors) == 125);
  CHECK(says(bytes_of(errors), "not all of its output could be written here (No space left"));
  CHECK(by_a_shell(pool, "run -- sh -c 'seq 3; exit 7' >/dev/full" + to_errors) == 7);
  CHECK(says(bytes_of(errors), "No space left"));
  // Nothing is wrong where the reader has all that it wants, or nothing was to be written.
  CHECK(by_a_shell(pool, "run -- true >/dev/full" + to_errors) == 0);
  CHECK_FALSE(says(bytes_of(errors), "could be written"));
  by_a_shell(pool, "run -- sh -c 'sleep 1; seq 3'" + to_errors + " | true");
  CHECK_FALSE(says(bytes_of(errors), "could be written"));
}

TEST_CASE("A mistake in the command line of a run is 2, as it is everywhere") {
  const CommandPool pool;
  const Output duration = pool.run({"true"}, {"--duration", "5x"});
  CHECK(duration.exit_code == 2);
  CHECK(says(duration.error, "5x"));
  const Output token = pool.run({"true"}, {"--token-file", "/nosuch"});
  CHECK(token.exit_code == 2);
  CHECK(says(token.error, "/nosuch"));
  CHECK(pool.run({"true"}, {"--file", "/nosuch"}).exit_code == 125);
}

TEST_CASE("Empty folders go there and come back") {
  const CommandPool pool;
  const fs::path here = pool.folder() / "here";
  const fs::path out = pool.folder() / "out";
  fs::create_directories(here / "data/empty");
  fs::create_directories(here / "bare");
  const Output output = pool.shell("ls -d data/empty bare; mkdir -p $GPUPOOL_OUT/left/empty",
                                   {"--file", (here / "data").string(), "--file",
                                    (here / "bare").string(), "--out", out.string()});
  INFO(output.error);
  CHECK(output.exit_code == 0);
  CHECK(output.out == "bare\ndata/empty\n");
  CHECK(fs::is_directory(out / "left/empty"));
  check_aftermath(pool);
}

TEST_CASE("Files go there and come back, with their folders and modes") {
  const CommandPool pool;
  const fs::path here = pool.folder() / "here";
  write(here / "data/a.txt", "hello");
  write(here / "data/deep/b.txt", std::string(200'000, 'x'));
  write(here / "tool",
        "#!/bin/sh\ncat \"$1\" > \"$GPUPOOL_OUT/copy\"\nmkdir $GPUPOOL_OUT/d\n"
        "cp tool $GPUPOOL_OUT/d/tool\n");
  fs::permissions(here / "tool", fs::perms::owner_all);
  const fs::path out = pool.folder() / "out";
  const Output output =
      pool.run({"./tool", "data/deep/b.txt"}, {"--file", (here / "data").string(), "--file",
                                               (here / "tool").string(), "--out", out.string()});
  INFO(output.error);
  CHECK(output.exit_code == 0);
  CHECK(bytes_of(out / "copy") == std::string(200'000, 'x'));
  CHECK(bytes_of(out / "d/tool") == bytes_of(here / "tool"));
  CHECK((fs::status(out / "d/tool").permissions() & fs::perms::owner_exec) != fs::perms::none);
  check_aftermath(pool);
}

TEST_CASE("Links and more than is allowed do not go there: nothing is submitted") {
  const CommandPool pool;
  const fs::path here = pool.folder() / "here";
  write(here / "a", "x");
  fs::create_symlink("/etc/passwd", here / "link");
  const Output folder = pool.run({"true"}, {"--file", here.string()});
  CHECK(folder.exit_code == 125);
  CHECK(says(folder.error, "\"link\" is a link"));
  CHECK(pool.run({"true"}, {"--file", (here / "link").string()}).exit_code == 125);
  CHECK(pool.run({"true"}, {"--file", "/dev/zero"}).exit_code == 125);
  CHECK(pool.run({"true"}, {"--file", (here / "none").string()}).exit_code == 125);
  CHECK(pool.run({"true"}, {"--file", (here / "a").string(), "--file", (here / "a").string()})
            .exit_code == 125);
  fs::resize_file(here / "a", 40'000'000);
  CHECK(pool.run({"true"}, {"--file", (here / "a").string()}).exit_code == 125);
  CHECK(json_of(pool.gpupool("ada", {"receipts", "--json"}))["receipts"].empty());
}

TEST_CASE("Only the tiers that the operator names may bring a command of their own") {
  const CommandPool pool;
  const Output refused = pool.gpupool("", {"run", "--", "true"});
  CHECK(refused.exit_code == 121);
  CHECK(says(refused.error, "forbidden"));
  CHECK(pool.run({"true"}, {"--app", "none"}).exit_code == 121);
  CHECK(pool.run({"true"}, {"--duration", "100000"}).exit_code == 121);
}

TEST_CASE("A registered app is checked at admission, and runs its own words") {
  const CommandPool pool("",
                         "[[apps]]\nname = \"count\"\nexecutor = \"command\"\n"
                         "command = [\"/usr/bin/seq\", \"-s\", \"{between}\", \"{steps}\"]\n"
                         "[[apps.parameters]]\nname = \"steps\"\ntype = \"integer\"\nmin = 1\n"
                         "max = 10\n[[apps.parameters]]\nname = \"between\"\ndefault = \";\"\n");
  const Output refused = pool.gpupool("ada", {"submit", "count", "steps=11"});
  CHECK(refused.exit_code == 3);
  CHECK(says(refused.error, "steps must be a whole number from 1 to 10"));
  const json said = json_of(pool.gpupool("ada", {"submit", "count", "steps=3", "--json"}));
  CHECK(said["receipt"]["outcome"] == "succeeded");
  CHECK(pool.gpupool("ada", {"logs", said["receipt"]["job"].dump()}).out == "1;2;3\n");
  const json apps = json_of(pool.gpupool("root", {"apps", "--json"}));
  CHECK(says(apps.dump(), "steps: a whole number from 1 to 10"));
}

TEST_CASE("At its declared end a command is warned, told to stop, and killed; its client knows") {
  const CommandPool pool;
  const Output output = pool.shell(
      "trap 'echo warned' USR1; trap 'echo told > $GPUPOOL_OUT/t; exit 0' TERM; "
      "while :; do sleep 0.1; done",
      {"--duration", "7", "--out", (pool.folder() / "out").string()});
  CHECK(output.exit_code == 124);
  CHECK(output.out == "warned\n");
  CHECK(says(output.error, "it ends in 5 s: it was sent SIGUSR1"));
  CHECK(bytes_of(pool.folder() / "out/t") == "told\n");
  check_aftermath(pool);
}

TEST_CASE("A command finds a clean environment of its own, and nothing of the daemon's") {
  ::setenv("GPUPOOL_TEST_SECRET", "hush", 1);
  const CommandPool pool("environment = [\"MODE=fast\"]\n");
  ::unsetenv("GPUPOOL_TEST_SECRET");
  for (const std::string app : {"run", "bare"}) {
    INFO(app);
    const Output output = pool.run({"env"}, {"--app", app, "--duration", "9"});
    INFO(output.out);
    CHECK(says(output.out, "MODE=fast\n"));
    CHECK(says(output.out, "LANG=C.UTF-8\n"));
    CHECK(says(output.out, "GPUPOOL_DEVICE=cpu\n"));
    CHECK(says(output.out, "GPUPOOL_DURATION_S=9.000\n"));
    CHECK(says(output.out, "OMP_NUM_THREADS=1\n"));
    CHECK(says(output.out, "CUDA_VISIBLE_DEVICES=\n"));
    CHECK_FALSE(says(output.out, "GPUPOOL_TEST_SECRET"));
    CHECK_FALSE(says(output.out, "GPUPOOL_TEST_FOLDER"));
  }
  const Output signals = pool.shell("grep SigIgn /proc/self/status; ls /proc/self/fd; cat");
  CHECK(says(signals.out, "SigIgn:\t0000000000000000\n0\n1\n2\n3\n"));
}

TEST_CASE("A secret is in the run's environment and nowhere else") {
  const fs::path secret = fs::temp_directory_path() / "gpupool-command-secret";
  fs::remove(secret);
  std::ofstream(secret) << "hush-hush\n";
  fs::permissions(secret, fs::perms::owner_read);
  const CommandPool pool("",
                         "[[apps]]\nname = \"keeper\"\nexecutor = \"command\"\n"
                         "command = [\"/bin/sh\", \"-c\", \"echo ${{#KEY}}; sleep 1\"]\n"
                         "[[apps.secrets]]\nname = \"KEY\"\nfile = \"" +
                             secret.string() + "\"\n");
  const json said = json_of(pool.gpupool("ada", {"submit", "keeper", "--json"}));
  CHECK(pool.gpupool("ada", {"logs", said["receipt"]["job"].dump()}).out == "9\n");
  CHECK_FALSE(says(pool.log(), "hush-hush"));
  CHECK_FALSE(says(said.dump(), "hush-hush"));
  CHECK_FALSE(says(pool.gpupool("root", {"apps", "--json"}).out, "hush-hush"));
  CHECK_FALSE(says(bytes_of(pool.ledger()), "hush-hush"));
  fs::remove(secret);
}

}  // namespace gpupool::test
