// Products through oneDNN. The rows are cut into blocks of a fixed size, one task each, so that the
// order of every sum is the same however many threads there are; each task runs oneDNN on one
// thread. A layer's weights are reordered once into the layout that its primitive asks for; the
// primitives are made at the first use of a size and kept.

#include <algorithm>
#include <atomic>
#include <deque>
#include <dnnl.hpp>
#include <unordered_map>
#include <vector>

#include "gpu/cpu/kernels.h"
#include "gpu/op_shapes.h"

namespace gpupool {
namespace {

// Enough rows to use each weight many times while it is in a register, few enough to share out one
// guided step of a small picture (128 rows) among several threads.
constexpr std::int64_t block_rows = 32;

constexpr auto f32 = dnnl::memory::data_type::f32;

struct Library {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  std::vector<dnnl::stream> streams;  // one per thread
};

// What a primitive was made for. Strides are in values.
struct ProductKey {
  std::int64_t rows = 0;
  std::int64_t in_stride = 0;
  std::int64_t out_stride = 0;
  Activation activation = Activation::none;

  friend bool operator==(const ProductKey&, const ProductKey&) = default;
};

// What one thread passes to oneDNN. Kept, because making it anew costs as much as a small product.
struct Arguments {
  dnnl::memory in;
  dnnl::memory out;
  std::unordered_map<int, dnnl::memory> all;  // in and out among them: a memory is a handle
};

struct Product {
  ProductKey key;
  dnnl::matmul primitive;
  std::vector<Arguments> arguments;  // one per thread

  void run(Library& library, std::int32_t thread, ConstMatrix in, Matrix out) {
    Arguments& mine = arguments[static_cast<std::size_t>(thread)];
    // oneDNN has one type of handle for what it reads and what it writes; this one is only read.
    mine.in.set_data_handle(const_cast<float*>(in.values));
    mine.out.set_data_handle(out.values);
    primitive.execute(library.streams[static_cast<std::size_t>(thread)], mine.all);
  }
};

class CpuLinear final : public Linear {
 public:
  CpuLinear(const LinearWeights& weights, Library& library);

  Product& product_for(const ProductKey& key);
  std::int64_t inputs() const { return inputs_; }
  std::int64_t outputs() const { return outputs_; }

 private:
  dnnl::matmul::primitive_desc describe(const ProductKey& key) const;
  const dnnl::memory& packed(const dnnl::memory::desc& layout);

  Library& library_;
  std::int64_t inputs_;
  std::int64_t outputs_;
  dnnl::memory bias_;                  // empty: no bias
  std::vector<dnnl::memory> layouts_;  // the same weights in every layout that was asked for
  std::deque<Product> products_;       // a handful; references to them stay good
};

dnnl::memory copy_of(std::span<const float> values, const dnnl::memory::desc& layout,
                     const Library& library) {
  dnnl::memory copy(layout, library.engine);
  std::copy(values.begin(), values.end(), static_cast<float*>(copy.get_data_handle()));
  return copy;
}

// The weights come as [outputs, inputs] and stand on the right of the product as [inputs, outputs]:
// the same memory, read along the other side.
CpuLinear::CpuLinear(const LinearWeights& weights, Library& library)
    : library_(library), inputs_(weights.inputs), outputs_(weights.outputs) {
  if (!weights.bias.empty()) {
    bias_ = copy_of(weights.bias, {{1, outputs_}, f32, {outputs_, 1}}, library_);
  }
  layouts_.push_back(copy_of(weights.weight, {{inputs_, outputs_}, f32, {1, inputs_}}, library_));
  product_for({.rows = block_rows, .in_stride = inputs_, .out_stride = outputs_});
  // From here on the usual layout is the source of all others, and the plain one is not kept.
  if (layouts_.size() > 1) layouts_.erase(layouts_.begin());
}

dnnl::matmul::primitive_desc CpuLinear::describe(const ProductKey& key) const {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::post_ops after;
  if (key.activation == Activation::gelu_tanh) {
    after.append_eltwise(1.0F, dnnl::algorithm::eltwise_gelu_tanh, 0.0F, 0.0F);
  } else if (key.activation == Activation::silu) {
    after.append_eltwise(1.0F, dnnl::algorithm::eltwise_swish, 1.0F, 0.0F);
  }
  attributes.set_post_ops(after);
  const dnnl::memory::desc in({key.rows, inputs_}, f32, {key.in_stride, 1});
  const dnnl::memory::desc out({key.rows, outputs_}, f32, {key.out_stride, 1});
  const dnnl::memory::desc any({inputs_, outputs_}, f32, dnnl::memory::format_tag::any);
  const auto operation =
      bias_ ? dnnl::matmul::desc(in, any, bias_.get_desc(), out) : dnnl::matmul::desc(in, any, out);
  return {operation, attributes, library_.engine};
}

Product& CpuLinear::product_for(const ProductKey& key) {
  for (Product& product : products_) {
    if (product.key == key) return product;
  }
  const auto description = describe(key);
  const dnnl::memory weight = packed(description.weights_desc());
  Product& product = products_.emplace_back();
  product.key = key;
  product.primitive = dnnl::matmul(description);
  for (std::size_t thread = 0; thread < library_.streams.size(); ++thread) {
    Arguments mine{.in = {description.src_desc(), library_.engine, nullptr},
                   .out = {description.dst_desc(), library_.engine, nullptr}};
    mine.all = {{DNNL_ARG_SRC, mine.in},
                {DNNL_ARG_WEIGHTS, weight},
                {DNNL_ARG_DST, mine.out},
                {DNNL_ARG_SCRATCHPAD, {description.scratchpad_desc(), library_.engine}}};
    if (bias_) mine.all.emplace(DNNL_ARG_BIAS, bias_);
    product.arguments.push_back(std::move(mine));
  }
  return product;
}

const dnnl::memory& CpuLinear::packed(const dnnl::memory::desc& layout) {
  for (const dnnl::memory& known : layouts_) {
    if (known.get_desc() == layout) return known;
  }
  dnnl::memory copy(layout, library_.engine);
  dnnl::stream& stream = library_.streams.front();
  dnnl::reorder(layouts_.front(), copy).execute(stream, layouts_.front(), copy);
  stream.wait();
  return layouts_.emplace_back(copy);
}

Error failed(const dnnl::error& error) {
  return {.code = Errc::device_failed, .detail = std::string("oneDNN: ") + error.what()};
}

}  // namespace

struct MatmulEngine::State {
  explicit State(Threads& all) : threads(all) {
    for (std::int32_t i = 0; i < all.count(); ++i) library.streams.emplace_back(library.engine);
  }

  Threads& threads;
  Library library;
};

MatmulEngine::MatmulEngine(Threads& threads) : state_(std::make_unique<State>(threads)) {}
MatmulEngine::~MatmulEngine() = default;

Result<std::unique_ptr<Linear>> MatmulEngine::make_linear(const LinearWeights& weights) try {
  keep_libraries_single_threaded();
  std::unique_ptr<Linear> layer = std::make_unique<CpuLinear>(weights, state_->library);
  return layer;
} catch (const dnnl::error& error) {
  return failed(error);
}

Status MatmulEngine::run(const Linear& layer, ConstMatrix in, Matrix out,
                         Activation activation) try {
  keep_libraries_single_threaded();  // the caller may be another thread than last time
  // Layers are only made above; keeping primitives doesn't change what a layer is.
  auto& linear = const_cast<CpuLinear&>(dynamic_cast<const CpuLinear&>(layer));
  check_linear({linear.outputs(), linear.inputs()}, in, out);
  const std::int64_t whole = in.rows / block_rows;
  const std::int64_t rest = in.rows % block_rows;
  ProductKey key{.rows = block_rows,
                 .in_stride = in.stride,
                 .out_stride = out.stride,
                 .activation = activation};
  Product* const block = whole > 0 ? &linear.product_for(key) : nullptr;
  key.rows = rest;
  Product* const last = rest > 0 ? &linear.product_for(key) : nullptr;
  // A task may be on another thread, out of reach of the catch below.
  std::atomic<int> failure{dnnl_success};
  state_->threads.run(whole + (rest > 0 ? 1 : 0), [&](Task task) {
    const std::int64_t first = task.index * block_rows;
    Product& product = task.index < whole ? *block : *last;
    try {
      product.run(state_->library, task.thread, in.row_block(first, product.key.rows),
                  out.row_block(first, product.key.rows));
    } catch (const dnnl::error& error) {
      failure.store(error.status, std::memory_order_relaxed);
    }
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
