#include "cli/command_sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "actors/worker/process.h"

namespace gpupool {
namespace {

namespace fs = std::filesystem;

constexpr const char* inner_id = "1000";

// What of /etc programs need to run at all, and nothing that somebody may have put there for
// themselves: the daemon's own files lie there too.
constexpr const char* shown_of_etc[] = {"/etc/alternatives",
                                        "/etc/ca-certificates",
                                        "/etc/ca-certificates.conf",
                                        "/etc/fonts",
                                        "/etc/ld.so.cache",
                                        "/etc/ld.so.conf",
                                        "/etc/ld.so.conf.d",
                                        "/etc/localtime",
                                        "/etc/magic",
                                        "/etc/mime.types",
                                        "/etc/OpenCL",
                                        "/etc/python3",
                                        "/etc/python3.11",
                                        "/etc/ssl",
                                        "/etc/timezone",
                                        "/etc/vulkan"};
constexpr const char* shown_with_network[] = {"/etc/resolv.conf", "/etc/hosts", "/etc/services",
                                              "/etc/protocols"};

Error unsupported(const std::string& what) {
  return {.code = Errc::unsupported, .detail = what + ": " + std::strerror(errno)};
}

bool write_text(const std::string& path, const std::string& text) {
  const FileDescriptor file{
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644)};
  return file && ::write(file.get(), text.data(), text.size()) == std::ssize(text);
}

// Of a GPU by its number or UUID; of one that can't be told, or of a slice, every one: what a
// program sees of them is then CUDA_VISIBLE_DEVICES' affair alone.
std::vector<std::string> gpu_nodes(const std::string& device) {
  std::vector<std::string> nodes{"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"};
  struct Gpu {
    std::string bus;
    std::string uuid;
    std::string minor;
  };
  std::vector<Gpu> gpus;
  std::error_code failure;
  for (const auto& entry : fs::directory_iterator("/proc/driver/nvidia/gpus", failure)) {
    Gpu gpu{.bus = entry.path().filename().string(), .uuid = {}, .minor = {}};
    std::ifstream file(entry.path() / "information");
    for (std::string line; std::getline(file, line);) {
      const auto value = line.find_first_not_of(" \t", line.find(':') + 1);
      if (value == std::string::npos) continue;
      if (line.starts_with("GPU UUID")) gpu.uuid = line.substr(value);
      if (line.starts_with("Device Minor")) gpu.minor = line.substr(value);
    }
    if (!gpu.minor.empty()) gpus.push_back(std::move(gpu));
  }
  std::sort(gpus.begin(), gpus.end(), [](const Gpu& a, const Gpu& b) { return a.bus < b.bus; });
  const bool is_slice = device.starts_with("MIG-");
  bool found = false;
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    if (is_slice || (gpus[i].uuid != device && std::to_string(i) != device)) continue;
    nodes.push_back("/dev/nvidia" + gpus[i].minor);
    found = true;
  }
  if (found) return nodes;
  for (const Gpu& gpu : gpus) nodes.push_back("/dev/nvidia" + gpu.minor);
  if (is_slice) nodes.emplace_back("/dev/nvidia-caps");
  return nodes;
}

class Words {
 public:
  void add(std::initializer_list<std::string> more) { words_.insert(words_.end(), more); }
  void show(const std::string& path) { add({"--ro-bind-try", path, path}); }
  std::vector<std::string> finish() { return std::move(words_); }

 private:
  std::vector<std::string> words_;
};

// Programs and libraries. On a merged /usr the old names are links into it.
void show_system(Words& words) {
  words.show("/usr");
  for (const char* name : {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}) {
    std::error_code failure;
    const fs::path link = fs::read_symlink(name, failure);
    if (!failure)
      words.add({"--symlink", link.string(), name});
    else
      words.show(name);
  }
  words.show("/opt");
}

}  // namespace

Status become(const std::string& user, const std::filesystem::path& folder) {
  if (::geteuid() != 0) return ok();
  const passwd* account = ::getpwnam(user.c_str());
  if (account == nullptr || account->pw_uid == 0 || account->pw_gid == 0)
    return Error{.code = Errc::unsupported,
                 .detail = "worker.run_as: \"" + user +
                           "\" is no account of this machine that commands may run as"};
  const uid_t uid = account->pw_uid;
  const gid_t gid = account->pw_gid;
  if (!folder.empty() && ::chown(folder.c_str(), uid, gid) != 0)
    return unsupported(folder.string() + " could not be given to \"" + user + "\"");
  if (::setgroups(0, nullptr) != 0 || ::setresgid(gid, gid, gid) != 0 ||
      ::setresuid(uid, uid, uid) != 0 || ::setuid(0) == 0)
    return unsupported("root could not become \"" + user + "\"");
  // So that its own files in /proc are its own.
  ::prctl(PR_SET_DUMPABLE, 1);
  return ok();
}

Status stay_tied(pid_t supervisor) {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return unsupported("no signal at a parent's death");
  if (::getppid() != supervisor)
    return Error{.code = Errc::unsupported, .detail = "its supervisor is gone"};
  return ok();
}

Status take_namespaces(std::int64_t bytes) {
  const std::string uid = std::to_string(::geteuid());
  const std::string gid = std::to_string(::getegid());
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
    return unsupported("no user namespace can be made here, which a sandbox needs");
  if (!write_text("/proc/self/setgroups", "deny") ||
      !write_text("/proc/self/uid_map", uid + " " + uid + " 1") ||
      !write_text("/proc/self/gid_map", gid + " " + gid + " 1"))
    return unsupported("a user namespace without its user");
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return unsupported("no mounts of its own");
  const std::string options = "mode=0755,size=" + std::to_string(bytes);
  if (::mount("tmpfs", sandbox_base, "tmpfs", MS_NOSUID | MS_NODEV, options.c_str()) != 0)
    return unsupported(std::string("no memory for its files at ") + sandbox_base);
  return ok();
}

Status make_folders(const std::string& base) {
  for (const char* name : {"work", "out", "tmp", "shm"})
    if (::mkdir((base + "/" + name).c_str(), 0700) != 0)
      return Error{.code = Errc::file_unwritable,
                   .detail = base + "/" + name + ": " + std::strerror(errno) +
                             (errno == EACCES ? "; worker.run_as needs a way (x) through each "
                                                "folder above it"
                                              : "")};
  return ok();
}

std::vector<std::string> sandbox_words(const CommandPlan& plan) {
  const std::string base = sandbox_base;
  write_text(base + "/passwd",
             "root:x:0:0:root:/:/usr/sbin/nologin\njob:x:1000:1000:job:/work:/bin/sh\n");
  write_text(base + "/group", "root:x:0:\njob:x:1000:\n");
  write_text(base + "/hosts", "127.0.0.1 localhost\n::1 localhost\n");
  Words words;
  words.add({"bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts",
             "--unshare-cgroup-try", "--disable-userns", "--die-with-parent", "--new-session",
             "--as-pid-1", "--cap-drop", "ALL", "--uid", inner_id, "--gid", inner_id, "--hostname",
             "gpupool", "--clearenv"});
  if (!plan.network) words.add({"--unshare-net"});
  show_system(words);
  words.add({"--perms", "0755", "--dir", "/etc"});
  for (const char* name : shown_of_etc) words.show(name);
  if (plan.network)
    for (const char* name : shown_with_network) words.show(name);
  else
    words.add({"--ro-bind", base + "/hosts", "/etc/hosts"});
  words.add(
      {"--ro-bind", base + "/passwd", "/etc/passwd", "--ro-bind", base + "/group", "/etc/group"});
  for (const std::string& folder : plan.read_only) words.show(folder);
  words.add({"--proc", "/proc", "--dev", "/dev"});
  if (!plan.device.empty()) {
    words.show("/sys");
    for (const std::string& node : gpu_nodes(plan.device))
      words.add({"--dev-bind-try", node, node});
  }
  words.add({"--remount-ro", "/dev", "--bind", base + "/shm", "/dev/shm", "--bind", base + "/tmp",
             "/tmp", "--bind", base + "/work", sandbox_home, "--bind", base + "/out", sandbox_out,
             "--remount-ro", "/", "--chdir", sandbox_home, "--"});
  return words.finish();
}

}  // namespace gpupool
