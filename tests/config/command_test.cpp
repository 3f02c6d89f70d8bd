// Apps that run commands, as a configuration has them.
#include "config/command.h"

#include <catch2/catch.hpp>
#include <cstdlib>

#include "tests/config/reading.h"

namespace gpupool {
namespace {

namespace fs = std::filesystem;

std::string app_with(const std::string& lines) {
  return "[pool]\nroles = [\"broker\"]\n[broker]\nworker_address = \"127.0.0.1:0\"\n"
         "[[apps]]\nname = \"tool\"\nexecutor = \"command\"\n" +
         lines;
}

std::string mistake_in(const std::string& lines) {
  const auto config = parse_config(app_with(lines), "gpupool.toml");
  REQUIRE_FALSE(config);
  return config.error().detail;
}

struct SecretFile {
  explicit SecretFile(const std::string& text, fs::perms mode = fs::perms::owner_read) {
    std::string pattern = (fs::temp_directory_path() / "gpupool-secret-XXXXXX").string();
    const int file = ::mkstemp(pattern.data());
    REQUIRE(file >= 0);
    ::close(file);
    path = pattern;
    std::ofstream(path) << text;
    fs::permissions(path, mode);
  }
  ~SecretFile() { fs::remove(path); }
  SecretFile(const SecretFile&) = delete;
  SecretFile& operator=(const SecretFile&) = delete;
  fs::path path;
};

}  // namespace

TEST_CASE("A command app has its words, parameters and walls, and lies on one device") {
  const Config config =
      parsed(app_with("command = [\"/opt/x\", \"-v\", \"-v\", \"{a}\", \"--b={b}\"]\n"
                      "environment = [\"MODE=fast\"]\nread_only = [\"/srv/models\"]\n"
                      "processes_max = 7\nretries = 2\nmemory_max_bytes = 1000000\n"
                      "[[apps.parameters]]\nname = \"a\"\npattern = \"[a-z]+\"\n"
                      "[[apps.parameters]]\nname = \"b\"\ntype = \"integer\"\nmin = -3\nmax = 3\n"
                      "default = \"0\"\nabout = \"how much\"\n"));
  const AppConfig& app = *config.app("tool");
  CHECK(app.executor == ExecutorKind::command);
  CHECK(app.spread == Spread::device);
  CHECK(app.command.words.size() == 5);
  CHECK(app.command.sandbox == SandboxKind::bubblewrap);
  CHECK_FALSE(app.command.network);
  CHECK(app.command.processes_max == 7);
  CHECK(app.command.retries == 2);
  REQUIRE(app.command.parameters.size() == 2);
  CHECK_FALSE(app.command.parameters[0].has_default);
  CHECK(app.command.parameters[1].least == -3);
  CHECK(app.command.parameters[1].default_value == "0");
}

TEST_CASE("Whoever may bring a command of their own is named by tier, and nobody is by default") {
  CHECK(parsed(app_with("any_command = true\ntiers = [\"pro\"]\n")).app("tool")->command.is_any());
  CHECK(mistake_in("any_command = true\n").find("apps[0].tiers: expected the tiers") !=
        std::string::npos);
  CHECK(mistake_in("").find("apps[0].command") != std::string::npos);
  CHECK(mistake_in("command = [\"/x\"]\nany_command = true\ntiers = [\"pro\"]\n")
            .find("found both") != std::string::npos);
}

TEST_CASE("What is wrong with a command app is told with its line") {
  const std::pair<const char*, const char*> mistakes[] = {
      {"command = [\"{a}\"]\n[[apps.parameters]]\nname = \"a\"\n", "a program as its first word"},
      {"command = [\"/x\", \"{a}\"]\n", "only parameters of this app"},
      {"command = [\"/x\", \"{a\"]\n", "a brace stands alone"},
      {"command = [\"/x\", \"a}\"]\n", "a brace stands alone"},
      {"command = [\"/x\"]\n[[apps.parameters]]\nname = \"a\"\n", "which none has"},
      {"command = \"rm -rf {a}\"\n", "a list"},
      {"command = [\"/x\"]\nenvironment = [\"GPUPOOL_OUT=/etc\"]\n", "are the pool's"},
      {"command = [\"/x\"]\nenvironment = [\"HOME=/\"]\n", "are the pool's"},
      {"command = [\"/x\"]\nenvironment = [\"A B=c\"]\n", "NAME=value"},
      {"command = [\"/x\"]\nread_only = [\"/\"]\n", "not /"},
      {"command = [\"/x\"]\nread_only = [\"/srv/../etc\"]\n", "without \"..\""},
      {"command = [\"/x\"]\nread_only = [\"srv\"]\n", "a whole path"},
      {"command = [\"/x\"]\nspread = \"devices\"\n", "a command runs on one device"},
      {"command = [\"/x\"]\nsandbox = \"docker\"\n", "\"bubblewrap\" or \"none\""},
      {"command = [\"/x\"]\nretries = 9\n", "from 0 to 2"},
      {"command = [\"/x\", \"{a}\"]\n[[apps.parameters]]\nname = \"a\"\npattern = \"(\"\n",
       "regular expression"},
      {"command = [\"/x\", \"{a}\"]\n[[apps.parameters]]\nname = \"a\"\npattern = \"(a)\\\\1\"\n",
       "without \\1 to \\9"},
      {"command = [\"/x\", \"{a}\"]\n[[apps.parameters]]\nname = \"a\"\ntype = \"integer\"\n"
       "default = \"x\"\n",
       "a whole number"},
      {"command = [\"/x\", \"{a}\"]\n[[apps.parameters]]\nname = \"a\"\ntype = \"integer\"\n"
       "min = 5\nmax = 4\n",
       "at most max"},
      {"command = [\"/x\", \"{a}\"]\n[[apps.parameters]]\nname = \"a\"\nmin = 5\n",
       "as only numbers have it"},
      {"command = [\"/x\", \"{a}\"]\n[[apps.parameters]]\nname = \"a\"\n[[apps.parameters]]\n"
       "name = \"a\"\n",
       "\"a\" again"},
      {"command = [\"/x\"]\nshell = \"/bin/sh\"\n", "an unknown key"},
  };
  for (const auto& [lines, words] : mistakes) {
    const std::string mistake = mistake_in(lines);
    INFO(lines << mistake);
    CHECK(mistake.find(words) != std::string::npos);
    CHECK(mistake.find("gpupool.toml:") == 0);
  }
  const auto other =
      parse_config("[[apps]]\nname = \"a\"\nexecutor = \"noop\"\nnetwork = true\n", "gpupool.toml");
  REQUIRE_FALSE(other);
  CHECK(other.error().detail.find("only apps with executor") != std::string::npos);
}

TEST_CASE("No command sees the pool's own files through read_only") {
  const std::string start =
      "[worker]\nfolder = \"/srv/pool/worker\"\n[ledger]\npath = \"/srv/ledger/l.sqlite\"\n"
      "[[apps]]\nname = \"tool\"\nexecutor = \"command\"\ncommand = [\"/x\"]\n";
  for (const char* folder : {"/srv", "/srv/pool", "/srv/pool/worker", "/srv/pool/worker/results",
                             "/srv/ledger", "/etc", "/etc/gpupool", "/etc/gpupool/secrets"}) {
    INFO(folder);
    const auto config =
        parse_config(start + "read_only = [\"" + folder + "\"]\n", "/etc/gpupool/gpupool.toml");
    REQUIRE_FALSE(config);
    CHECK(config.error().detail.find("without the pool's own files") != std::string::npos);
  }
  CHECK(parse_config(start + "read_only = [\"/srv/models\"]\n", "/etc/gpupool/gpupool.toml"));
}

TEST_CASE("A secret comes from a file of its owner alone, or is still to be set") {
  const SecretFile file("hush\n");
  const auto with = [](const std::string& path) {
    return app_with("command = [\"/x\"]\n[[apps.secrets]]\nname = \"TOKEN\"\nfile = \"" + path +
                    "\"\n");
  };
  CHECK(parsed(with(file.path.string())).app("tool")->command.secrets[0].value == "hush");
  CHECK(parsed(with("")).app("tool")->command.secrets[0].value.empty());
  const SecretFile open("hush\n", fs::perms::owner_read | fs::perms::others_read);
  const auto refused = parse_config(with(open.path.string()), "gpupool.toml");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().detail.find("apps[0].secrets[0].file") != std::string::npos);
  CHECK(refused.error().detail.find("hush") == std::string::npos);
}

TEST_CASE("A concurrency is the slots of a partition that no other app has") {
  const std::string devices =
      "[[worker.devices]]\nkind = \"cpu\"\nslots = 2\npartition = \"own\"\n"
      "[[worker.devices]]\nkind = \"cpu\"\n"
      "[[apps]]\nname = \"other\"\nexecutor = \"noop\"\n"
      "[[apps]]\nname = \"tool\"\nexecutor = \"noop\"\n";
  CHECK(parsed(devices + "partition = \"own\"\nconcurrency = 2\n").app("tool")->concurrency == 2);
  for (const char* lines :
       {"partition = \"own\"\nconcurrency = 3\n", "partition = \"default\"\nconcurrency = 1\n"}) {
    INFO(lines);
    CHECK_FALSE(parse_config(devices + lines, "gpupool.toml"));
  }
}

}  // namespace gpupool
