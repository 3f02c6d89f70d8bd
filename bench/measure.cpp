#include "bench/measure.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <iostream>

namespace gpupool::bench {

nlohmann::json json_of(const Rate& rate, const std::string& what) {
  return {{what + "_per_s", rate.per_s}, {"p50_us", rate.p50_us}, {"p99_us", rate.p99_us}};
}

void give_up(const std::string& program, const std::string& why) {
  std::cerr << program << ": " << why << "\n";
  std::exit(1);
}

Rate measure_fdatasync(const std::string& folder, double seconds) {
  const std::string path = folder + "/fdatasync.probe";
  const int file = ::open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) give_up("benchmark", "cannot write " + path);
  const std::array<char, 4096> page{};
  std::vector<double> latencies;
  const auto begin = Clock::now();
  while (us_since(begin) < seconds * 1e6) {
    const auto at = Clock::now();
    if (::write(file, page.data(), page.size()) != static_cast<ssize_t>(page.size()) ||
        ::fdatasync(file) != 0)
      give_up("benchmark", "cannot write " + path);
    latencies.push_back(us_since(at));
  }
  const double took = us_since(begin) / 1e6;
  ::close(file);
  ::unlink(path.c_str());
  return rate_of(std::move(latencies), took);
}

}  // namespace gpupool::bench
