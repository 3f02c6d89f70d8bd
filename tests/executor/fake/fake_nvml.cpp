// A stand-in for NVIDIA's management library: GPU 0 is whole, GPU 1 is cut into two MIG slices.
// What is wrong today stands in the file that FAKE_NVML names, one word a line: "no_driver", "none"
// (no GPUs), "lost" (GPU 0 falls off the bus), "hot" (GPU 0), "errors" (3 on GPU 0), "silent" (a
// look at GPU 0 takes a minute). FAKE_NVML_OLD leaves out what only newer drivers have,
// FAKE_NVML_BROKEN a function that is needed.
#include <poll.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

namespace {

constexpr int success = 0;
constexpr int not_supported = 3;
constexpr int not_found = 6;
constexpr int driver_not_loaded = 9;
constexpr int gpu_is_lost = 15;

struct FakeDevice {
  const char* name;
  const char* uuid;
  unsigned long long memory;
  FakeDevice* whole;  // of a slice
};

FakeDevice gpus[] = {
    {"NVIDIA H200", "GPU-00000000-0000-0000-0000-000000000000", 150'754'820'096, nullptr},
    {"NVIDIA H200", "GPU-00000000-0000-0000-0000-000000000001", 150'754'820'096, nullptr}};
FakeDevice slices[] = {{"NVIDIA H200 MIG 3g.71gb", "MIG-00000000-0000-0000-0000-000000000002",
                        74'625'056'768, &gpus[1]},
                       {"NVIDIA H200 MIG 3g.71gb", "MIG-00000000-0000-0000-0000-000000000003",
                        74'625'056'768, &gpus[1]}};

bool is_today(const std::string& word) {
  const char* file = std::getenv("FAKE_NVML");
  if (file == nullptr) return false;
  std::ifstream words{file};
  return std::find(std::istream_iterator<std::string>(words), {}, word) !=
         std::istream_iterator<std::string>();
}

int give(const char* text, char* to, unsigned bytes) {
  if (std::strlen(text) >= bytes) return 7;
  std::strcpy(to, text);
  return success;
}

}  // namespace

extern "C" {

int nvmlInit_v2() { return is_today("no_driver") ? driver_not_loaded : success; }
int nvmlShutdown() { return success; }
const char* nvmlErrorString(int result) {
  if (result == driver_not_loaded) return "Driver Not Loaded";
  if (result == gpu_is_lost) return "GPU is lost";
  return result == not_found ? "Not Found" : "Unknown Error";
}
int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = is_today("none") ? 0 : 2;
  return success;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, FakeDevice** device) {
  if (index >= std::size(gpus) || is_today("none")) return not_found;
  if (index == 0 && is_today("lost")) return gpu_is_lost;
  *device = &gpus[index];
  return success;
}
int nvmlDeviceGetHandleByUUID(const char* uuid, FakeDevice** device) {
  for (auto* all : {gpus, slices})
    for (int i = 0; i < 2; ++i)
      if (std::strcmp(all[i].uuid, uuid) == 0) {
        *device = &all[i];
        return success;
      }
  return not_found;
}
int nvmlDeviceGetName(FakeDevice* device, char* to, unsigned bytes) {
  return give(device->name, to, bytes);
}
#ifndef FAKE_NVML_BROKEN
int nvmlDeviceGetUUID(FakeDevice* device, char* to, unsigned bytes) {
  return give(device->uuid, to, bytes);
}
#endif
int nvmlDeviceGetMemoryInfo(FakeDevice* device, unsigned long long* total_free_used) {
  total_free_used[0] = device->memory;
  total_free_used[1] = device->memory - 1'000'000'000;
  total_free_used[2] = 1'000'000'000;
  return success;
}

#ifndef FAKE_NVML_OLD
int nvmlSystemGetDriverVersion(char* to, unsigned bytes) { return give("580.65.06", to, bytes); }
int nvmlDeviceGetTemperature(FakeDevice* device, int, unsigned* degrees) {
  if (device == &gpus[0] && is_today("silent")) ::poll(nullptr, 0, 60'000);
  if (device->whole != nullptr) return not_supported;
  if (device == &gpus[0] && is_today("lost")) return gpu_is_lost;
  *degrees = device == &gpus[0] && is_today("hot") ? 97 : 41;
  return success;
}
int nvmlDeviceGetTotalEccErrors(FakeDevice* device, int, int, unsigned long long* errors) {
  if (device == &gpus[0] && is_today("lost")) return gpu_is_lost;
  *errors = device == &gpus[0] && is_today("errors") ? 3 : 0;
  return success;
}
int nvmlDeviceGetMigMode(FakeDevice* device, unsigned* current, unsigned* pending) {
  *current = *pending = device == &gpus[1] ? 1 : 0;
  return success;
}
int nvmlDeviceGetMaxMigDeviceCount(FakeDevice*, unsigned* count) {
  *count = 7;
  return success;
}
int nvmlDeviceGetMigDeviceHandleByIndex(FakeDevice*, unsigned index, FakeDevice** device) {
  // A slice that was removed leaves its place empty.
  if (index != 0 && index != 2) return not_found;
  *device = &slices[index / 2];
  return success;
}
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(FakeDevice* slice, FakeDevice** whole) {
  *whole = slice->whole;
  return success;
}
#endif

}  // extern "C"
