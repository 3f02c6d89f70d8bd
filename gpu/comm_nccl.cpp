#include "gpu/comm_nccl.h"

#include <nccl.h>

#include <charconv>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "base/ensure.h"
#include "gpu/comm_failure.h"
#include "gpu/comm_shapes.h"
#include "gpu/cuda/resources.h"

namespace gpupool {
namespace {

// Between two looks at what is under way.
constexpr Duration look_every = milliseconds(10);

std::chrono::milliseconds chrono_of(Duration duration) {
  return std::chrono::milliseconds(duration.ms);
}

Status status_of(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return ok();
  return ranks_failed(std::string(what) + ": " + cudaGetErrorString(error));
}

// In progress is fine: who needs to know asks again.
Status status_of(ncclResult_t result, const char* what) {
  if (result == ncclSuccess || result == ncclInProgress) return ok();
  return ranks_failed(std::string(what) + ": NCCL: " + ncclGetErrorString(result));
}

// Where the memory of one rank or of several begins, and how many bytes it has.
struct Stretch {
  std::byte* first = nullptr;
  std::size_t bytes = 0;
};

Stretch stretch_of(const Activations& view) {
  return {view.values, static_cast<std::size_t>(view.rows * row_bytes(view))};
}

class NcclComm final : public Comm {
 public:
  NcclComm(const CommOptions& options, cudaStream_t device_stream)
      : options_(options), device_stream_(device_stream), watch_(options.timeout) {}
  ~NcclComm() override;
  Status make(const ncclUniqueId& name);

  std::int32_t rank() const override { return options_.rank; }
  std::int32_t size() const override { return options_.size; }
  void start_gather(ConstActivations mine, const std::vector<std::int64_t>& rows,
                    Activations all) override;
  void finish_gathers() override;
  void all_reduce(Matrix sum) override;
  void broadcast(Activations values, std::int32_t root) override;
  void barrier() override;
  Status status() const override { return ending_.status(); }
  void abort() noexcept override { ending_.fail(ranks_failed("it was called off")); }

 private:
  template <class Enqueue>
  void run(const char* what, const Enqueue& enqueue);
  void await(const char* what);
  Status order(const cuda::Event& by, cudaStream_t before, cudaStream_t after);
  Status place(const ConstActivations& mine, const Activations& own);
  ncclResult_t state() const;
  void look();
  void watch(const std::stop_token& stop);

  const CommOptions options_;
  const cudaStream_t device_stream_;
  int device_ = 0;
  cuda::Stream stream_;
  cuda::Event ready_;  // the device's ops that a rank's operation comes after
  cuda::Event done_;   // the operations that the device's next ops come after
  std::array<cuda::Event, 2> marks_;
  cuda::DeviceMemory barrier_;  // one value
  ncclComm_t comm_ = nullptr;   // like watch_, used in ending_.attempt() alone
  Watch watch_;
  Ending ending_{[this] {
    if (comm_ != nullptr) static_cast<void>(ncclCommAbort(std::exchange(comm_, nullptr)));
  }};
  std::jthread watchdog_;
};

// ---- Making and ending -------------------------------------------------------------------------

Status made_event(cuda::Event& event) {
  cudaEvent_t made = nullptr;
  const Status done =
      status_of(cudaEventCreateWithFlags(&made, cudaEventDisableTiming), "no event");
  event.reset(made);
  return done;
}

Status NcclComm::make(const ncclUniqueId& name) {
  cudaStream_t stream = nullptr;
  if (const Status done = status_of(cudaGetDevice(&device_), "no CUDA device"); !done) return done;
  if (const Status done =
          status_of(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "no stream");
      !done)
    return done;
  stream_.reset(stream);
  for (cuda::Event* const event : {&ready_, &done_, &marks_[0], &marks_[1]})
    if (const Status done = made_event(*event); !done) return done;
  Result<cuda::DeviceMemory> memory = cuda::allocate_bytes(sizeof(float));
  if (!memory) return memory.error();
  barrier_ = *std::move(memory);
  if (const Status done =
          status_of(cudaMemsetAsync(barrier_.get(), 0, sizeof(float), stream), "no memory");
      !done)
    return done;

  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  const char* const what = "they can't meet";
  ending_.attempt([&] {
    return status_of(ncclCommInitRankConfig(&comm_, size(), name, rank(), &config), what);
  });
  await(what);
  watchdog_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
  return status();
}

// What is under way when it is dropped can be waiting for ranks that are gone. Otherwise it leaves
// when NCCL says that the others have what they need of it, or the timeout is over.
NcclComm::~NcclComm() {
  if (stream_ && cudaStreamQuery(stream_.get()) != cudaSuccess) abort();
  watchdog_ = {};
  if (comm_ == nullptr) return;
  const char* const what = "leaving";
  ending_.attempt([&] { return status_of(ncclCommFinalize(comm_), what); });
  await(what);
  ending_.attempt([&] { return status_of(ncclCommDestroy(std::exchange(comm_, nullptr)), what); });
}

// ---- Operations --------------------------------------------------------------------------------

// What was given to one stream so far comes before what the other is given next.
Status NcclComm::order(const cuda::Event& by, cudaStream_t before, cudaStream_t after) {
  const char* const what = "streams can't be put in order";
  if (const Status done = status_of(cudaEventRecord(by.get(), before), what); !done) return done;
  return status_of(cudaStreamWaitEvent(after, by.get(), 0), what);
}

template <class Enqueue>
void NcclComm::run(const char* what, const Enqueue& enqueue) {
  ending_.attempt([&] {
    const Status ordered = order(ready_, device_stream_, stream_.get());
    return ordered ? enqueue() : ordered;
  });
  await(what);
  ending_.attempt([&] {
    return status_of(cudaEventRecord(marks_[watch_.started()].get(), stream_.get()), what);
  });
}

// NCCL puts an operation on the stream by a thread of its own; until it has, nothing else may come.
void NcclComm::await(const char* what) {
  const auto ask = [&] {
    Answer answer = Answer::over;
    ending_.attempt([&] {
      const ncclResult_t is = state();
      if (is == ncclInProgress) answer = Answer::under_way;
      return status_of(is, what);
    });
    return answer;
  };
  const auto pause = [](Duration duration) {
    if (duration == Duration{}) return std::this_thread::yield();
    std::this_thread::sleep_for(chrono_of(duration));
  };
  if (ask_until_over(ask, pause, options_.timeout) == Answer::over) return;
  ending_.fail(ranks_failed(std::string(what) + " took over " +
                            std::to_string(options_.timeout.ms) + " ms"));
}

// Of NCCL's last call: in progress, or what came of it and of all before.
ncclResult_t NcclComm::state() const {
  ncclResult_t state = ncclSuccess;
  const ncclResult_t asked = ncclCommGetAsyncError(comm_, &state);
  return asked == ncclSuccess ? state : asked;
}

// The rows go to where they belong, if they are not there.
Status NcclComm::place(const ConstActivations& mine, const Activations& own) {
  if (mine.rows == 0 || mine.values == own.values) return ok();
  const auto width = static_cast<std::size_t>(row_bytes(own));
  const auto pitch = static_cast<std::size_t>(mine.stride * bytes_of(mine.dtype));
  return status_of(cudaMemcpy2DAsync(own.values, width, mine.values, pitch, width,
                                     static_cast<std::size_t>(mine.rows), cudaMemcpyDeviceToDevice,
                                     stream_.get()),
                   "rows can't be put in place");
}

// Equally many rows are one operation of NCCL; otherwise each rank sends its own to all, as one
// group.
void NcclComm::start_gather(ConstActivations mine, const std::vector<std::int64_t>& rows,
                            Activations all) {
  check_gather(*this, mine, rows, all);
  const auto part = [&](std::int32_t of) {
    return all.row_block(first_row(rows, of), rows[static_cast<std::size_t>(of)]);
  };
  const char* const what = "a gather";
  run(what, [&]() -> Status {
    if (const Status placed = place(mine, part(rank())); !placed) return placed;
    if (equally_many(rows)) {
      const Stretch own = stretch_of(part(rank()));
      return status_of(
          ncclAllGather(own.first, all.values, own.bytes, ncclUint8, comm_, stream_.get()), what);
    }
    Status first = status_of(ncclGroupStart(), what);
    for (std::int32_t root = 0; root < size(); ++root) {
      const Stretch from = stretch_of(part(root));
      if (!first || from.bytes == 0) continue;
      first = status_of(
          ncclBroadcast(from.first, from.first, from.bytes, ncclUint8, root, comm_, stream_.get()),
          what);
    }
    const Status ended = status_of(ncclGroupEnd(), what);
    return first ? ended : first;
  });
}

void NcclComm::finish_gathers() {
  ending_.attempt([&] { return order(done_, stream_.get(), device_stream_); });
}

void NcclComm::all_reduce(Matrix sum) {
  check_all_reduce(sum);
  const auto count = static_cast<std::size_t>(sum.rows * sum.columns);
  const char* const what = "a sum";
  if (count == 0) return;
  run(what, [&] {
    return status_of(
        ncclAllReduce(sum.values, sum.values, count, ncclFloat32, ncclSum, comm_, stream_.get()),
        what);
  });
  finish_gathers();
}

void NcclComm::broadcast(Activations values, std::int32_t root) {
  check_broadcast(*this, values, root);
  const Stretch all = stretch_of(values);
  const char* const what = "a broadcast";
  if (all.bytes == 0) return;
  run(what, [&] {
    return status_of(
        ncclBroadcast(all.first, all.first, all.bytes, ncclUint8, root, comm_, stream_.get()),
        what);
  });
  finish_gathers();
}

// Nobody has the sum before all have come to it.
void NcclComm::barrier() {
  all_reduce({static_cast<float*>(barrier_.get()), 1, 1, 1});
  const cudaError_t waited = cudaStreamSynchronize(stream_.get());  // the watchdog ends it
  ending_.attempt([&] { return status_of(waited, "a barrier"); });
}

// ---- The watchdog ------------------------------------------------------------------------------

void NcclComm::watch(const std::stop_token& stop) {
  cudaSetDevice(device_);
  std::mutex idle;
  std::condition_variable_any stopped;
  std::unique_lock lock(idle);
  const auto over = [&] { return stop.stop_requested(); };
  while (!stopped.wait_for(lock, stop, chrono_of(look_every), over)) look();
}

void NcclComm::look() {
  ending_.attempt([&]() -> Status {
    const char* const what = "an operation failed";
    if (const Status fine = status_of(state(), what); !fine) return fine;
    const auto mark = watch_.watched();
    if (!mark) return ok();
    const cudaError_t asked = cudaEventQuery(marks_[*mark].get());
    const Answer answer = asked == cudaErrorNotReady ? Answer::under_way : Answer::over;
    if (!watch_.look(answer, look_every))
      return ranks_failed("an operation took over " + std::to_string(options_.timeout.ms) +
                          " ms: another rank hangs or is gone");
    return answer == Answer::over ? status_of(asked, what) : ok();
  });
}

// ---- The name ----------------------------------------------------------------------------------

// Two digits a byte: what ranks leave for each other is text.
std::string text_of(const ncclUniqueId& name) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const char byte : name.internal) {
    const auto bits = static_cast<unsigned char>(byte);
    text += digits[bits >> 4U];
    text += digits[bits & 15U];
  }
  return text;
}

Result<ncclUniqueId> name_of(const std::string& text) {
  ncclUniqueId name{};
  bool is_right = text.size() == 2 * sizeof name.internal;
  for (std::size_t i = 0; is_right && i < sizeof name.internal; ++i) {
    unsigned char byte = 0;
    const char* const end = text.data() + 2 * i + 2;
    is_right = std::from_chars(end - 2, end, byte, 16).ptr == end;
    name.internal[i] = static_cast<char>(byte);
  }
  if (!is_right)
    return ranks_failed("rank 0 left a name of " + std::to_string(text.size()) +
                        " characters that is none of NCCL's");
  return name;
}

}  // namespace

// What NCCL may take counts from when all are there, not from when the first was.
Result<std::string> agree_on_name(const CommOptions& options, Rendezvous& rendezvous) {
  const std::string name_key = "nccl";
  const auto here_key = [](std::int32_t rank) { return "nccl " + std::to_string(rank); };
  if (options.rank > 0) {
    rendezvous.put(here_key(options.rank), "here");
    return rendezvous.get(name_key, options.timeout);
  }
  for (std::int32_t other = 1; other < options.size; ++other)
    if (const auto here = rendezvous.get(here_key(other), options.timeout); !here)
      return here.error();
  ncclUniqueId name{};
  if (const Status made = status_of(ncclGetUniqueId(&name), "they can't meet"); !made)
    return made.error();
  const std::string text = text_of(name);
  rendezvous.put(name_key, text);
  return text;
}

Result<std::unique_ptr<Comm>> make_nccl_comm(const CommOptions& options, Rendezvous& rendezvous,
                                             cudaStream_t stream) try {
  GPUPOOL_ENSURE(options.rank >= 0 && options.rank < options.size, options.rank, options.size);
  const Result<std::string> text = agree_on_name(options, rendezvous);
  if (!text) return text.error();
  const Result<ncclUniqueId> name = name_of(*text);
  if (!name) return name.error();
  auto comm = std::make_unique<NcclComm>(options, stream);
  if (const Status made = comm->make(*name); !made) return made.error();
  return std::unique_ptr<Comm>(std::move(comm));
} catch (const std::exception& error) {
  return ranks_failed(error.what());
}

}  // namespace gpupool
