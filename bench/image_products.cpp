#include "bench/image_products.h"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <dnnl.hpp>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "bench/measure.h"
#include "gpu/cpu/device_cpu.h"

namespace gpupool::bench {
namespace {

struct Size {
  std::int64_t rows = 0;
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;

  double operations() const {
    return 2.0 * static_cast<double>(rows) * static_cast<double>(inputs) *
           static_cast<double>(outputs);
  }
};

std::vector<Size> sizes_of(Network network) {
  const std::int64_t rows = network == Network::emoji ? 128 : 512;
  const std::int64_t width = network == Network::emoji ? 192 : 1152;
  return {{rows, width, 3 * width},
          {rows, width, width},
          {rows, width, 4 * width},
          {rows, 4 * width, width}};
}

std::vector<float> some_values(std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(i * 2654435761U % 65536U) / 65536.0F - 0.5F;
  return values;
}

// A oneDNN with OpenMP has this symbol behind it. The setting is the calling thread's.
void let_onednn_use(std::int32_t threads) {
  using SetThreads = void (*)(int);
  const auto set = reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  if (set != nullptr) set(threads);
}

class Peer {
 public:
  explicit Peer(const Size& size) {
    using Memory = dnnl::memory;
    constexpr auto f32 = Memory::data_type::f32;
    const Memory::desc in({size.rows, size.inputs}, f32, Memory::format_tag::ab);
    const Memory::desc weights({size.inputs, size.outputs}, f32, Memory::format_tag::any);
    const Memory::desc out({size.rows, size.outputs}, f32, Memory::format_tag::ab);
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(in, weights, out), engine_);
    product_ = dnnl::matmul(description);
    arguments_ = {{DNNL_ARG_SRC, filled(in)},
                  {DNNL_ARG_WEIGHTS, filled(description.weights_desc())},
                  {DNNL_ARG_DST, filled(out)}};
  }
  void run() {
    product_.execute(stream_, arguments_);
    stream_.wait();
  }

 private:
  dnnl::memory filled(const dnnl::memory::desc& layout) {
    dnnl::memory memory(layout, engine_);
    const auto values = some_values(static_cast<std::int64_t>(layout.get_size() / sizeof(float)));
    std::copy(values.begin(), values.end(), static_cast<float*>(memory.get_data_handle()));
    return memory;
  }

  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  dnnl::matmul product_;
  std::unordered_map<int, dnnl::memory> arguments_;
};

// Of one call, where each measurement is of as many as take some milliseconds.
double microseconds_of(const Size& size, const std::function<void()>& call) {
  const int calls = std::max(1, static_cast<int>(1e9 / size.operations()));
  const auto begin = Clock::now();
  for (int i = 0; i < calls; ++i) call();
  return us_since(begin) / calls;
}

}  // namespace

Result<ProductSpeed> measure_products(Network network, std::int32_t threads,
                                      std::int64_t repeat) try {
  const auto device = make_cpu_device(threads);
  double ours_us = 0;
  double onednn_us = 0;
  double operations = 0;
  for (const Size& size : sizes_of(network)) {
    const std::vector<float> weight = some_values(size.outputs * size.inputs);
    auto layer = device->make_linear(
        {.outputs = size.outputs, .inputs = size.inputs, .weight = weight, .bias = {}});
    if (!layer) return layer.error();
    const auto in = device->allocate({size.rows, size.inputs});
    if (!in) return in.error();
    const auto out = device->allocate({size.rows, size.outputs});
    if (!out) return out.error();
    device->upload(some_values(size.rows * size.inputs), in->all());
    Peer peer(size);
    const auto ours = [&] { device->linear(**layer, in->all(), out->all(), Activation::none); };
    std::vector<double> of_ours;
    std::vector<double> of_peer;
    for (std::int64_t turn = 0; turn <= repeat; ++turn) {
      const double mine = microseconds_of(size, ours);
      let_onednn_use(threads);
      const double theirs = microseconds_of(size, [&] { peer.run(); });
      if (turn == 0) continue;  // primitives and caches
      of_ours.push_back(mine);
      of_peer.push_back(theirs);
    }
    if (const Status done = device->finish(); !done) return done.error();
    ours_us += percentile(of_ours, 0.5);
    onednn_us += percentile(of_peer, 0.5);
    operations += size.operations();
  }
  return ProductSpeed{.ours_gflops = operations / ours_us / 1e3,
                      .onednn_gflops = operations / onednn_us / 1e3};
} catch (const dnnl::error& error) {
  return Error{.code = Errc::device_failed, .detail = std::string("oneDNN: ") + error.what()};
}

}  // namespace gpupool::bench
