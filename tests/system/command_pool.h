#pragma once
// A pool of one slot that runs commands, for tests: its apps, what a run of gpupool gives, and what
// must hold after each, whatever the command did.

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "tests/system/jobs.h"
#include "tests/system/pool_process.h"

namespace gpupool::test {

// "run" takes any command of tier free, in its sandbox; "bare" the same without one.
inline std::string command_apps(const std::string& more = "") {
  std::string text;
  for (const std::string name : {"run", "bare"}) {
    text += "[[apps]]\nname = \"" + name + "\"\nexecutor = \"command\"\nany_command = true\n" +
            "tiers = [\"free\"]\nprocesses_max = 40\nmemory_max_bytes = 300000000\n" +
            "scratch_bytes = 50000000\n" + more;
    if (name == "bare") text += "sandbox = \"none\"\n";
  }
  return text;
}

class CommandPool : public PoolProcess {
 public:
  explicit CommandPool(const std::string& more = "", const std::string& apps = "")
      : PoolProcess({.settings = command_apps(more) + apps,
                     .worker_settings = std::string("kill_grace_s = 1\n") + one_slot}) {
    // The user that commands run as has to get through it.
    std::filesystem::permissions(folder(), std::filesystem::perms::owner_all |
                                               std::filesystem::perms::group_exec |
                                               std::filesystem::perms::others_exec);
    for_each_process([this](pid_t pid, const std::filesystem::path&) { before_.insert(pid); });
    start();
  }

  // gpupool run OPTIONS -- COMMAND, as ada.
  Output run(const std::vector<std::string>& command,
             const std::vector<std::string>& options = {}) const {
    std::vector<std::string> words{"run"};
    words.insert(words.end(), options.begin(), options.end());
    words.emplace_back("--");
    words.insert(words.end(), command.begin(), command.end());
    return gpupool("ada", words);
  }
  Output shell(const std::string& script, const std::vector<std::string>& options = {}) const {
    return run({"sh", "-c", script}, options);
  }
  Output python(const std::string& script, const std::vector<std::string>& options = {}) const {
    return run({"python3", "-c", script}, options);
  }

  // Processes that a command of this pool has left: of the user that commands run as, or, where the
  // tests are not root's, with a run's variables; not the executor that waits for the next one, nor
  // what was there before the pool.
  std::size_t left_over() const {
    std::size_t count = 0;
    for_each_process([&](pid_t pid, const std::filesystem::path& folder) {
      if (before_.contains(pid)) return;
      const std::string line = bytes_of(folder / "cmdline");
      if (line.empty() || line.find("gpupool-command") != std::string::npos) return;
      struct stat seen {};
      const bool is_nobodys =
          ::geteuid() == 0 && ::stat(folder.c_str(), &seen) == 0 && seen.st_uid == 65534;
      if (is_nobodys || bytes_of(folder / "environ").find("GPUPOOL_JOB=") != std::string::npos)
        ++count;
    });
    return count;
  }

  // SIGKILL to the outer end of the run that is on.
  bool kill_command_executor() const {
    bool killed = false;
    for_each_process([&](pid_t pid, const std::filesystem::path& process) {
      const std::string line = bytes_of(process / "cmdline");
      const bool is_one = line.starts_with(program("gpupool-command").string());
      if (is_one && bytes_of(process / "environ").find(folder().string()) != std::string::npos)
        killed = ::kill(pid, SIGKILL) == 0 || killed;
    });
    return killed;
  }

 private:
  template <class Visit>
  static void for_each_process(const Visit& visit) {
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string name = entry.path().filename();
      if (name.find_first_not_of("0123456789") == std::string::npos)
        visit(static_cast<pid_t>(std::stol(name)), entry.path());
    }
  }

  std::set<pid_t> before_;
};

// The slot is lent again, nothing is left of the command, and the books add up.
inline void check_aftermath(const CommandPool& pool) {
  CHECK(wait_until(seconds(20), [&] { return pool.left_over() == 0; }));
  const Output again = pool.run({"echo", "again"}, {"--duration", "10"});
  INFO(again.error);
  CHECK(again.exit_code == 0);
  CHECK(again.out == "again\n");
  const Output audit = pool.gpupool("root", {"audit"});
  INFO(audit.out << audit.error);
  CHECK(audit.exit_code == 0);
}

inline nlohmann::json json_of(const Output& output) {
  INFO(output.out << output.error);
  return nlohmann::json::parse(output.out);
}

}  // namespace gpupool::test
