#include "actors/worker/nvml.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <utility>

#include "config/limits.h"

namespace gpupool {
namespace {

// As NVIDIA's "NVML API Reference Guide" has them: opaque handles, results as int.
using Handle = struct NvmlDevice*;
using Return = int;
constexpr Return success = 0;
constexpr Return not_found = 6;
constexpr Return gpu_is_lost = 15;
constexpr Return reset_required = 16;
constexpr int temperature_of_gpu = 0;   // NVML_TEMPERATURE_GPU
constexpr int uncorrected = 1;          // NVML_MEMORY_ERROR_TYPE_UNCORRECTED
constexpr int since_driver_loaded = 0;  // NVML_VOLATILE_ECC
constexpr std::size_t text_bytes = 96;  // NVML_DEVICE_UUID_V2_BUFFER_SIZE, and of names
constexpr unsigned gpus_max = 64;       // more is nonsense, and so is
constexpr unsigned slices_max = 16;     // more of one GPU
struct Memory {                         // nvmlMemory_t
  unsigned long long total = 0;
  unsigned long long free = 0;
  unsigned long long used = 0;
};

using Text = std::array<char, text_bytes>;

std::string text_in(const Text& text) {
  return {text.data(), std::find(text.begin(), text.end(), '\0')};
}

}  // namespace

std::filesystem::path nvml_library() {
  const char* named = std::getenv("GPUPOOL_NVML");
  return named != nullptr && *named != '\0' ? named : "libnvidia-ml.so.1";
}

// Its functions; those that only newer drivers have may be null.
struct Nvml::Library {
  ~Library() {
    if (is_begun) shutdown();
    if (opened != nullptr) ::dlclose(opened);
  }

  void* opened = nullptr;
  bool is_begun = false;
  std::string missing;  // the first function that is needed and not there

  Return (*init)() = nullptr;
  Return (*shutdown)() = nullptr;
  const char* (*error_string)(Return) = nullptr;
  Return (*count)(unsigned*) = nullptr;
  Return (*by_index)(unsigned, Handle*) = nullptr;
  Return (*by_uuid)(const char*, Handle*) = nullptr;
  Return (*name)(Handle, char*, unsigned) = nullptr;
  Return (*uuid)(Handle, char*, unsigned) = nullptr;
  Return (*memory)(Handle, Memory*) = nullptr;
  Return (*driver)(char*, unsigned) = nullptr;
  Return (*temperature)(Handle, int, unsigned*) = nullptr;
  Return (*ecc_errors)(Handle, int, int, unsigned long long*) = nullptr;
  Return (*mig_mode)(Handle, unsigned*, unsigned*) = nullptr;
  Return (*slice_count)(Handle, unsigned*) = nullptr;
  Return (*slice)(Handle, unsigned, Handle*) = nullptr;
  Return (*whole_of)(Handle, Handle*) = nullptr;

  template <class Function>
  bool find(Function*& function, const char* symbol) {
    function = reinterpret_cast<Function*>(::dlsym(opened, symbol));
    return function != nullptr;
  }
  template <class Function>
  void need(Function*& function, const char* symbol) {
    if (!find(function, symbol) && missing.empty()) missing = symbol;
  }

  void find_all() {
    need(init, "nvmlInit_v2");
    need(shutdown, "nvmlShutdown");
    need(error_string, "nvmlErrorString");
    need(count, "nvmlDeviceGetCount_v2");
    need(by_index, "nvmlDeviceGetHandleByIndex_v2");
    need(by_uuid, "nvmlDeviceGetHandleByUUID");
    need(name, "nvmlDeviceGetName");
    need(uuid, "nvmlDeviceGetUUID");
    need(memory, "nvmlDeviceGetMemoryInfo");
    find(driver, "nvmlSystemGetDriverVersion");
    find(temperature, "nvmlDeviceGetTemperature");
    find(ecc_errors, "nvmlDeviceGetTotalEccErrors");
    find(mig_mode, "nvmlDeviceGetMigMode");
    find(slice_count, "nvmlDeviceGetMaxMigDeviceCount");
    find(slice, "nvmlDeviceGetMigDeviceHandleByIndex");
    find(whole_of, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle");
  }

  std::string words(Return result) const {
    const char* text = error_string(result);
    return text != nullptr ? text : "error " + std::to_string(result);
  }

  std::string text_of(Return (*ask)(Handle, char*, unsigned), Handle device) const {
    Text text{};
    return ask(device, text.data(), text.size()) == success ? text_in(text) : std::string();
  }

  std::optional<Memory> memory_of(Handle device) const {
    Memory found;
    if (memory(device, &found) != success) return std::nullopt;
    return found;
  }

  std::vector<MigSlice> slices_of(Handle device) const;
  Gpu gpu_at(unsigned index) const;
  Return handle_of(const std::string& device, Handle& found) const;
};

std::vector<MigSlice> Nvml::Library::slices_of(Handle device) const {
  std::vector<MigSlice> slices;
  unsigned most = 0;
  if (!slice_count || !slice || slice_count(device, &most) != success) return slices;
  for (unsigned i = 0; i < std::min(most, slices_max); ++i) {
    Handle one = nullptr;
    if (slice(device, i, &one) != success) continue;  // its place is empty
    const auto has = memory_of(one);
    slices.push_back({.uuid = text_of(uuid, one),
                      .name = text_of(name, one),
                      .memory_bytes = has ? std::optional(static_cast<std::int64_t>(has->total))
                                          : std::nullopt});
  }
  return slices;
}

Gpu Nvml::Library::gpu_at(unsigned index) const {
  Gpu gpu{.index = index};
  Handle device = nullptr;
  if (const Return result = by_index(index, &device); result != success) {
    gpu.trouble = words(result);
    return gpu;
  }
  gpu.name = text_of(name, device);
  gpu.uuid = text_of(uuid, device);
  if (const auto has = memory_of(device)) {
    gpu.memory_bytes = static_cast<std::int64_t>(has->total);
    gpu.memory_used_bytes = static_cast<std::int64_t>(has->used);
  }
  unsigned degrees = 0;
  if (temperature && temperature(device, temperature_of_gpu, &degrees) == success)
    gpu.temperature = degrees;
  unsigned long long errors = 0;
  if (ecc_errors && ecc_errors(device, uncorrected, since_driver_loaded, &errors) == success)
    gpu.uncorrected_errors = errors;
  unsigned current = 0;
  unsigned pending = 0;
  if (mig_mode && mig_mode(device, &current, &pending) == success) gpu.is_sliced = current != 0;
  if (gpu.is_sliced.value_or(false)) gpu.slices = slices_of(device);
  return gpu;
}

// The GPU itself, of a slice too: it is the card that gets hot and falls off the bus.
Return Nvml::Library::handle_of(const std::string& device, Handle& found) const {
  unsigned index = 0;
  const char* const end = device.data() + device.size();
  if (std::from_chars(device.data(), end, index).ptr == end) return by_index(index, &found);
  const Return result = by_uuid(device.c_str(), &found);
  if (result != success || !device.starts_with("MIG-") || !whole_of) return result;
  return whole_of(found, &found);
}

Nvml::Nvml(std::unique_ptr<Library> library) : library_(std::move(library)) {}
Nvml::~Nvml() = default;

Result<std::unique_ptr<Nvml>> Nvml::open(const std::filesystem::path& path) {
  auto library = std::make_unique<Library>();
  library->opened = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library->opened == nullptr)
    return Error{.code = Errc::unsupported,
                 .detail = path.string() +
                           " is not here: it comes with NVIDIA's driver, and without that no GPU "
                           "can be used"};
  library->find_all();
  if (!library->missing.empty())
    return Error{.code = Errc::unsupported,
                 .detail = path.string() + " has no " + library->missing +
                           ": it is too old, or no NVML; install NVIDIA's driver 450 or newer"};
  if (const Return result = library->init(); result != success)
    return Error{.code = Errc::device_failed,
                 .detail = "NVML does not start: " + library->words(result)};
  library->is_begun = true;
  return std::unique_ptr<Nvml>(new Nvml(std::move(library)));
}

Result<GpuList> Nvml::list() {
  GpuList list;
  Text text{};
  if (library_->driver && library_->driver(text.data(), text.size()) == success)
    list.driver = text_in(text);
  unsigned count = 0;
  if (const Return result = library_->count(&count); result != success)
    return Error{.code = Errc::device_failed,
                 .detail = "NVML does not count the GPUs: " + library_->words(result)};
  for (unsigned i = 0; i < std::min(count, gpus_max); ++i) list.gpus.push_back(library_->gpu_at(i));
  return list;
}

DeviceHealth Nvml::health_of(const std::string& device) {
  DeviceHealth health;
  Handle handle = nullptr;
  unsigned degrees = 0;
  unsigned long long errors = 0;
  Return result = library_->handle_of(device, handle);
  const bool is_there = result == success;
  if (is_there && library_->temperature)
    result = library_->temperature(handle, temperature_of_gpu, &degrees);
  if (is_there && result == success) health.temperature = degrees;
  const bool is_gone = result == gpu_is_lost || result == reset_required;
  if (is_there && !is_gone && library_->ecc_errors)
    result = library_->ecc_errors(handle, uncorrected, since_driver_loaded, &errors);
  if (result == success) health.uncorrected_errors = errors;
  // What it merely does not support is no trouble.
  health.lost = !is_there || result == gpu_is_lost || result == reset_required;
  if (health.lost) health.detail = result == not_found ? "not found" : library_->words(result);
  return health;
}

}  // namespace gpupool
