// Products through oneDNN. They are cut into blocks whose size depends on the layer alone, one task
// each, so that the order of every sum is the same however many threads there are; each task runs
// oneDNN on one thread. A layer's weights are reordered once into the layout that its primitive
// asks for; the primitives are made at the first use of a size and kept, for all layers.

#include <dnnl.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <dnnl.hpp>
#include <utility>
#include <vector>

#include "gpu/bf16.h"
#include "gpu/cpu/kernels.h"
#include "gpu/cpu/lanes.h"
#include "gpu/op_shapes.h"

namespace gpupool {
namespace {

// Weights that stay in a core's cache while all rows pass: few rows in a block, to share out one
// guided step of a small picture (128 rows) among several threads.
constexpr std::int64_t cached_weights_max = std::int64_t{1} << 18;
constexpr std::int64_t rows_of_cached = 32;
// Of larger ones, columns that stay there (with 1,152 inputs in f32: 1.7 MB), and rows enough to
// read them for. On 512 rows this was a fifth faster than 32 rows and all columns.
constexpr std::int64_t rows_of_panel = 128;
constexpr std::int64_t columns_of_panel = 384;

constexpr auto f32 = dnnl::memory::data_type::f32;

dnnl::memory::data_type type_of(Dtype dtype) {
  return dtype == Dtype::f32 ? f32 : dnnl::memory::data_type::bf16;
}

Error failed(const dnnl::error& error) {
  return {.code = Errc::device_failed, .detail = std::string("oneDNN: ") + error.what()};
}

// What a primitive was made for. Strides are in values.
struct ProductKey {
  MatrixSize block{};
  std::int64_t inputs = 0;
  std::int64_t in_stride = 0;
  std::int64_t out_stride = 0;
  Dtype out_dtype = Dtype::f32;
  Activation activation = Activation::none;
  bool has_bias = false;

  auto fields() const {
    return std::tie(block.rows, block.columns, inputs, in_stride, out_stride, out_dtype, activation,
                    has_bias);
  }
};

// What one thread passes to oneDNN for itself. Kept, since a memory is an allocation.
struct ThreadMemory {
  dnnl::memory in;
  dnnl::memory out;
  dnnl::memory scratch;
};

struct Product {
  ProductKey key;
  dnnl::matmul primitive;
  dnnl::memory::desc weights;
  std::vector<ThreadMemory> threads;
};

// Some columns of a layer.
struct Panel {
  std::int64_t first = 0;
  std::int64_t columns = 0;
  dnnl::memory bias;                  // empty: no bias
  std::vector<dnnl::memory> layouts;  // the same weights in every layout that was asked for
};

class CpuLinear final : public Linear {
 public:
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
  std::int64_t block_rows = 0;
  std::vector<Panel> panels;  // equally wide but for the last
};

// One product of a layer, cut into whole blocks, with a rest below and on the right.
struct Job {
  const CpuLinear& layer;
  ConstActivations in;
  Activations out;
};

const dnnl::memory& layout_of(const Panel& panel, const dnnl::memory::desc& layout) {
  for (const dnnl::memory& known : panel.layouts)
    if (known.get_desc() == layout) return known;
  GPUPOOL_ENSURE(false, panel.first);
  return panel.layouts.front();
}

}  // namespace

struct MatmulEngine::State {
  State(Threads& all, Dtype values)
      : threads(all), precision(values), converted(static_cast<std::size_t>(all.count())) {
    for (std::int32_t i = 0; i < all.count(); ++i) streams.emplace_back(engine);
  }

  Product& product_for(const ProductKey& key);
  dnnl::matmul::primitive_desc describe(const ProductKey& key) const;
  void add_layout(Panel& panel, const dnnl::memory& from, const dnnl::memory::desc& layout);
  ConstActivations in_precision(ConstActivations in, std::int32_t thread);
  dnnl_status_t run_block(const Product& product, const Panel& panel, const Job& job, Task task);

  Threads& threads;
  Dtype precision;  // of weights and of what they are multiplied with; sums are f32
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  std::vector<dnnl::stream> streams;         // one per thread
  std::deque<Product> products;              // a handful per network; references to them stay good
  std::vector<std::vector<Bf16>> converted;  // per thread: a block of rows that came in f32
};

dnnl::matmul::primitive_desc MatmulEngine::State::describe(const ProductKey& key) const {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::post_ops after;
  if (key.activation == Activation::gelu_tanh) {
    after.append_eltwise(1.0F, dnnl::algorithm::eltwise_gelu_tanh, 0.0F, 0.0F);
  } else if (key.activation == Activation::silu) {
    after.append_eltwise(1.0F, dnnl::algorithm::eltwise_swish, 1.0F, 0.0F);
  }
  attributes.set_post_ops(after);
  const MatrixSize block = key.block;
  const dnnl::memory::desc in({block.rows, key.inputs}, type_of(precision), {key.in_stride, 1});
  const dnnl::memory::desc out({block.rows, block.columns}, type_of(key.out_dtype),
                               {key.out_stride, 1});
  const dnnl::memory::desc any({key.inputs, block.columns}, type_of(precision),
                               dnnl::memory::format_tag::any);
  const dnnl::memory::desc bias({1, block.columns}, f32, {block.columns, 1});
  const auto operation =
      key.has_bias ? dnnl::matmul::desc(in, any, bias, out) : dnnl::matmul::desc(in, any, out);
  return {operation, attributes, engine};
}

Product& MatmulEngine::State::product_for(const ProductKey& key) {
  for (Product& product : products)
    if (product.key.fields() == key.fields()) return product;
  const auto description = describe(key);
  Product product{
      .key = key, .primitive = {description}, .weights = description.weights_desc(), .threads = {}};
  for (std::size_t i = 0; i < streams.size(); ++i)
    product.threads.push_back({.in = {description.src_desc(), engine, nullptr},
                               .out = {description.dst_desc(), engine, nullptr},
                               .scratch = {description.scratchpad_desc(), engine}});
  return products.emplace_back(std::move(product));
}

void MatmulEngine::State::add_layout(Panel& panel, const dnnl::memory& from,
                                     const dnnl::memory::desc& layout) {
  for (const dnnl::memory& known : panel.layouts)
    if (known.get_desc() == layout) return;
  dnnl::memory source = from;  // oneDNN has one type of handle for what it reads and writes
  dnnl::memory copy(layout, engine);
  dnnl::reorder(source, copy).execute(streams.front(), source, copy);
  streams.front().wait();
  panel.layouts.push_back(copy);
}

// These rows as they are, or a copy of this thread's.
ConstActivations MatmulEngine::State::in_precision(ConstActivations in, std::int32_t thread) {
  if (in.dtype == precision) return in;
  std::vector<Bf16>& copy = converted[static_cast<std::size_t>(thread)];
  const auto count = static_cast<std::size_t>(in.rows * in.columns);
  if (copy.size() < count) copy.resize(count);
  convert_rows(in.f32(), copy.data());
  return {reinterpret_cast<const std::byte*>(copy.data()), in.rows, in.columns, Dtype::bf16};
}

// By oneDNN's C interface: the one for C++ makes a list and a map for each call.
dnnl_status_t MatmulEngine::State::run_block(const Product& product, const Panel& panel,
                                             const Job& job, Task task) {
  const auto thread = static_cast<std::size_t>(task.thread);
  const ThreadMemory& mine = product.threads[thread];
  const std::int64_t first = task.index * job.layer.block_rows;
  const ConstActivations in =
      in_precision(job.in.row_block(first, product.key.block.rows), task.thread);
  const Activations out =
      job.out.row_block(first, product.key.block.rows).column_block(panel.first, panel.columns);
  const dnnl_status_t sets[] = {
      dnnl_memory_set_data_handle(mine.in.get(), const_cast<std::byte*>(in.values)),
      dnnl_memory_set_data_handle(mine.out.get(), out.values)};
  for (const dnnl_status_t set : sets)
    if (set != dnnl_success) return set;
  const dnnl_exec_arg_t arguments[] = {
      {DNNL_ARG_SRC, mine.in.get()},
      {DNNL_ARG_WEIGHTS, layout_of(panel, product.weights).get()},
      {DNNL_ARG_DST, mine.out.get()},
      {DNNL_ARG_SCRATCHPAD, mine.scratch.get()},
      {DNNL_ARG_BIAS, panel.bias.get(true)}};  // the last: left out where there is none
  return dnnl_primitive_execute(product.primitive.get(), streams[thread].get(),
                                product.key.has_bias ? 5 : 4, arguments);
}

MatmulEngine::MatmulEngine(Threads& threads, Dtype precision)
    : state_(std::make_unique<State>(threads, precision)) {}
MatmulEngine::~MatmulEngine() = default;

bool MatmulEngine::multiplies_bf16() {
  return dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core;
}

// The weights come as [outputs, inputs] and stand on the right of the product as [inputs, outputs]:
// the same memory, read along the other side.
Result<std::unique_ptr<Linear>> MatmulEngine::make_linear(const LinearWeights& weights) try {
  keep_libraries_single_threaded();
  auto layer = std::make_unique<CpuLinear>();
  layer->inputs = weights.inputs;
  layer->outputs = weights.outputs;
  const bool cached = weights.inputs * weights.outputs <= cached_weights_max;
  const std::int64_t columns_max = cached ? weights.outputs : columns_of_panel;
  layer->block_rows = cached ? rows_of_cached : rows_of_panel;
  for (std::int64_t first = 0; first < weights.outputs; first += columns_max) {
    Panel& panel = layer->panels.emplace_back();
    panel.first = first;
    panel.columns = std::min(columns_max, weights.outputs - first);
    const float* const values = weights.weight.data() + first * weights.inputs;
    const dnnl::memory plain({{weights.inputs, panel.columns}, f32, {1, weights.inputs}},
                             state_->engine, const_cast<float*>(values));
    const ProductKey usual{.block = {layer->block_rows, panel.columns},
                           .inputs = weights.inputs,
                           .in_stride = weights.inputs,
                           .out_stride = weights.outputs,
                           .out_dtype = state_->precision,
                           .has_bias = !weights.bias.empty()};
    state_->add_layout(panel, plain, state_->product_for(usual).weights);
    if (!usual.has_bias) continue;
    panel.bias = {{{1, panel.columns}, f32, {panel.columns, 1}}, state_->engine};
    std::copy_n(weights.bias.data() + first, panel.columns,
                static_cast<float*>(panel.bias.get_data_handle()));
  }
  return std::unique_ptr<Linear>(std::move(layer));
} catch (const dnnl::error& error) {
  return failed(error);
}

// By way of the layout in which weights come.
Result<std::unique_ptr<Linear>> MatmulEngine::part_of(const Linear& linear,
                                                      OutputRange outputs) try {
  keep_libraries_single_threaded();
  const auto& layer = dynamic_cast<const CpuLinear&>(linear);
  check_part({layer.outputs, layer.inputs}, outputs);
  std::vector<float> weight(static_cast<std::size_t>(layer.outputs * layer.inputs));
  std::vector<float> bias;
  for (const Panel& panel : layer.panels) {
    dnnl::memory plain({{layer.inputs, panel.columns}, f32, {1, layer.inputs}}, state_->engine,
                       weight.data() + panel.first * layer.inputs);
    dnnl::memory packed = panel.layouts.front();
    dnnl::reorder(packed, plain).execute(state_->streams.front(), packed, plain);
    state_->streams.front().wait();
    if (!panel.bias) continue;
    const auto* const values = static_cast<const float*>(panel.bias.get_data_handle());
    bias.insert(bias.end(), values, values + panel.columns);
  }
  const auto first = static_cast<std::size_t>(outputs.first);
  const auto count = static_cast<std::size_t>(outputs.count);
  const auto width = static_cast<std::size_t>(layer.inputs);
  LinearWeights part{.outputs = outputs.count,
                     .inputs = layer.inputs,
                     .weight = std::span(weight).subspan(first * width, count * width)};
  if (!bias.empty()) part.bias = std::span(bias).subspan(first, count);
  return make_linear(part);
} catch (const dnnl::error& error) {
  return failed(error);
}

Status MatmulEngine::run(const Linear& linear, ConstActivations in, Activations out,
                         Activation activation) try {
  keep_libraries_single_threaded();  // the caller may be another thread than last time
  // Layers are only made above; keeping another layout doesn't change what a layer is.
  auto& layer = const_cast<CpuLinear&>(dynamic_cast<const CpuLinear&>(linear));
  check_linear({layer.outputs, layer.inputs}, in, out);
  const std::int64_t whole = in.rows / layer.block_rows;
  const std::int64_t blocks = whole + (in.rows % layer.block_rows > 0 ? 1 : 0);
  const auto product_for = [&](std::int64_t rows, Panel& panel) {
    Product& product =
        state_->product_for({.block = {rows, panel.columns},
                             .inputs = layer.inputs,
                             .in_stride = in.dtype == state_->precision ? in.stride : layer.inputs,
                             .out_stride = out.stride,
                             .out_dtype = out.dtype,
                             .activation = activation,
                             .has_bias = static_cast<bool>(panel.bias)});
    return &product;
  };
  // [block of rows is the rest][panel is the last]
  const Product* products[2][2] = {};
  for (Panel& panel : layer.panels) {
    const bool last = &panel == &layer.panels.back();
    for (const bool rest : {false, true}) {
      const std::int64_t rows = rest ? in.rows - whole * layer.block_rows : layer.block_rows;
      if (rest ? rows == 0 : whole == 0) continue;
      const Product*& product = products[rest][last];
      if (product == nullptr) product = product_for(rows, panel);
      state_->add_layout(panel, panel.layouts.front(), product->weights);
    }
  }
  // A task may be on another thread, out of reach of the catch below.
  std::atomic<int> failure{dnnl_success};
  const Job job{layer, in, out};
  state_->threads.run(blocks * static_cast<std::int64_t>(layer.panels.size()), [&](Task task) {
    const Panel& panel = layer.panels[static_cast<std::size_t>(task.index / blocks)];
    const std::int64_t block = task.index % blocks;
    const Product& product = *products[block >= whole][&panel == &layer.panels.back()];
    const dnnl_status_t done = state_->run_block(product, panel, job, {block, task.thread});
    if (done != dnnl_success) failure.store(done, std::memory_order_relaxed);
  });
  if (failure != dnnl_success) {
    return Error{.code = Errc::device_failed,
                 .detail = "oneDNN: status " + std::to_string(failure.load())};
  }
  return ok();
} catch (const dnnl::error& error) {
  return failed(error);
}

}  // namespace gpupool
