#pragma once
// NVIDIA's management library, loaded while the program runs, so that nothing is linked to it and a
// machine without one says so. It reads and changes nothing. What a driver does not have stays
// empty in the answers. Every call can take as long as the driver likes. One thread at a time.

#include <filesystem>
#include <memory>
#include <string>

#include "actors/messages.h"
#include "actors/worker/device_list.h"
#include "base/result.h"

namespace gpupool {

// libnvidia-ml.so.1, or what the variable GPUPOOL_NVML names.
std::filesystem::path nvml_library();

class Nvml {
 public:
  // unsupported: there is no such library, or one without a function that is needed, and the detail
  // says which; device_failed: it has no driver or no GPU to speak to.
  static Result<std::unique_ptr<Nvml>> open(const std::filesystem::path& library);
  ~Nvml();

  Result<GpuList> list();
  // The health of a GPU, or of the one that a slice is of, by its number or UUID in a
  // configuration. `device` of the answer is the caller's to fill.
  DeviceHealth health_of(const std::string& device);

 private:
  struct Library;
  explicit Nvml(std::unique_ptr<Library> library);

  std::unique_ptr<Library> library_;
};

}  // namespace gpupool
