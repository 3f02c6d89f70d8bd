#pragma once
// CutProxy: stands between clients and a PostgreSQL server's socket. Once told to, it lets what
// clients ask arrive and cuts the connection when the server answers: the server has done what was
// asked, and nobody hears of it. A thread of its own; everything is closed when it goes.

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "actors/worker/process.h"

namespace gpupool::test {

class CutProxy {
 public:
  // `server` is the folder of the server's socket.
  explicit CutProxy(std::filesystem::path server);
  ~CutProxy();
  CutProxy(const CutProxy&) = delete;
  CutProxy& operator=(const CutProxy&) = delete;

  // Where clients find it, as the host in a conninfo.
  const std::string& folder() const { return folder_; }
  void cut_answers() { cuts_ = true; }

 private:
  struct Pair {
    FileDescriptor client;
    FileDescriptor server;
  };

  void serve();
  void accept_one(std::vector<Pair>& pairs) const;
  // Whether both ends stay open.
  bool pass_on(const Pair& pair, bool from_client) const;

  const std::filesystem::path server_;
  std::string folder_;
  FileDescriptor listener_;
  FileDescriptor ending_;
  std::atomic<bool> cuts_ = false;
  std::thread thread_;
};

}  // namespace gpupool::test
