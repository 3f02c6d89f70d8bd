// gpupool-diffusion, and gpupool-diffusion-cuda for GPUs: the built-in executor. It keeps one model
// resident and draws one picture after the other for the worker at the other end of descriptor 3
// (actors/worker/executor_protocol.h). SIGTERM during a run stops that run at its next step;
// between runs it ends the program. What a run writes to stderr is its log.
//
//     gpupool-diffusion --model FOLDER --threads N [--cores 0,1] [--precision bf16]
//     gpupool-diffusion-cuda --model FOLDER --device cuda:UUID [--precision bf16]
//     gpupool-diffusion --check FOLDER               (only says whether the model can be loaded)
//
// For ranks on other nodes, either of --rank-address ADDRESS, where this one listens, and
// --rank-route HOST:PORT[,HOST:PORT], towards which the address is found out; else on the loopback.
//
// How it ends when nobody told it to: ExecutorExit in actors/worker/fault.h.

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "actors/worker/diffusion_arguments.h"
#include "actors/worker/executor_protocol.h"
#include "actors/worker/fault.h"
#include "actors/worker/process.h"
#include "base/clock.h"
#include "cli/rank_address.h"
#include "gpu/comm.h"
#include "gpu/cpu/device_cpu.h"
#include "gpu/model.h"
#ifdef GPUPOOL_CUDA
#include "gpu/cuda/device_cuda.h"
#endif

namespace gpupool {
namespace {

constexpr int code_of(ExecutorExit ending) { return static_cast<int>(ending); }

constexpr std::string_view cuda_prefix = "cuda:";
constexpr Duration preview_interval = milliseconds(200);

struct Options {
  std::string model;
  std::string device = "cpu";  // or "cuda:" and what CUDA_VISIBLE_DEVICES understands
  CpuOptions cpu{.threads = 0};
  Dtype precision = Dtype::f32;
  std::string rank_address;  // empty: by the route
  std::string rank_route;    // empty: the other ranks are on this machine

  bool is_cuda() const { return device.starts_with(cuda_prefix); }
};

// The whole of the text has to be a number, or several with commas between them.
std::optional<std::vector<std::int32_t>> numbers_of(std::string_view text) {
  std::vector<std::int32_t> numbers;
  const char* at = text.data();
  const char* const end = at + text.size();
  for (;;) {
    const auto [stop, failure] = std::from_chars(at, end, numbers.emplace_back());
    if (failure != std::errc{} || (stop != end && *stop != ',')) return std::nullopt;
    if (stop == end) return numbers;
    at = stop + 1;
  }
}

std::optional<Options> options_of(int count, char** arguments) {
  Options options;
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string_view key = arguments[i];
    const std::string_view value = arguments[i + 1];
    if (key == "--model") {
      options.model = value;
    } else if (key == "--device") {
      options.device = value;
    } else if (key == "--rank-address") {
      options.rank_address = value;
    } else if (key == "--rank-route") {
      options.rank_route = value;
    } else if (key == "--precision" && (value == "f32" || value == "bf16")) {
      options.precision = value == "bf16" ? Dtype::bf16 : Dtype::f32;
    } else if (key == "--threads" || key == "--cores") {
      const auto numbers = numbers_of(value);
      if (!numbers || (key == "--threads" && numbers->size() > 1)) return std::nullopt;
      if (key == "--threads")
        options.cpu.threads = numbers->front();
      else
        options.cpu.cores = *numbers;
    } else {
      return std::nullopt;
    }
  }
  const bool is_known = options.is_cuda() || options.device == "cpu";
  if (options.model.empty() || !is_known || (options.cpu.threads < 1) != options.is_cuda())
    return std::nullopt;
  options.cpu.precision = options.precision;
  return options;
}

// The one GPU that this process may see. What the worker has set already stays; it is set before
// anything of CUDA runs.
Result<std::unique_ptr<Device>> make_gpu(const Options& options) {
  ::setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID", 0);
  ::setenv("CUDA_VISIBLE_DEVICES", options.device.substr(cuda_prefix.size()).c_str(), 0);
#ifdef GPUPOOL_CUDA
  const auto count = cuda_device_count();
  if (!count || *count == 0)
    return Error{.code = Errc::device_failed,
                 .detail = "No CUDA GPUs are available: " +
                           (count ? options.device + " is not there" : count.error().detail)};
  return make_cuda_device({.index = 0, .precision = options.precision});
#else
  return Error{.code = Errc::device_failed,
               .detail = "this program has no CUDA device; gpupool-diffusion-cuda has one"};
#endif
}

Result<std::unique_ptr<Device>> make_device(const Options& options) {
  return options.is_cuda() ? make_gpu(options) : make_cpu_device(options.cpu);
}

Result<std::unique_ptr<Model>> load(const Options& options) {
  auto device = make_device(options);
  auto model = device ? Model::load(options.model, *std::move(device)) : device.error();
  if (!model)
    std::cerr << "gpupool-diffusion: " << name_of(model.error().code) << ": "
              << model.error().detail << "\n";
  return model;
}

GenerateRequest request_of(const DiffusionArguments& arguments) {
  return {.prompt = arguments.prompt,
          .steps = static_cast<std::int32_t>(arguments.steps),
          .guidance = static_cast<float>(arguments.guidance),
          .seed = arguments.seed,
          .pixels = static_cast<std::int32_t>(arguments.pixels)};
}

double seconds_since(Instant start) { return static_cast<double>((boot_time() - start).ms) / 1000; }

template <class... Values>
void log_line(const char* format, Values... values) {
  std::fprintf(stderr, format, values...);
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// What will be drawn, and which words of the prompt count for nothing. Precondition: it was
// checked.
void log_request(Model& model, const GenerateRequest& request) {
  const Prompt prompt = *model.read_prompt(request.prompt);
  const bool nothing_known = prompt.tokens == model.no_prompt().tokens;
  if (model.draws_classes())
    log_line("prompt: class %d", prompt.tokens.front());
  else
    log_line("prompt: %zu known words", nothing_known ? std::size_t{0} : prompt.tokens.size());
  if (!prompt.unknown_words.empty())
    log_line("; unknown words, dropped: %s", joined(prompt.unknown_words).c_str());
  log_line("\n%d steps, guidance %.1f, seed %llu, %d x %d pixels\n", request.steps,
           static_cast<double>(request.guidance), static_cast<unsigned long long>(request.seed),
           model.pixels_of(request), model.pixels_of(request));
}

// "2 threads in f32", or "cuda:GPU-... in bf16".
std::string place_of(const Options& options) {
  const std::string place =
      options.is_cuda() ? options.device : std::to_string(options.cpu.threads) + " threads";
  return place + (options.precision == Dtype::bf16 ? " in bf16" : " in f32");
}

// Empty: none that other machines would have a use for.
std::string rank_address_of(const Options& options) {
  if (!options.rank_address.empty()) return options.rank_address;
  return options.rank_route.empty() ? std::string{} : address_towards(options.rank_route);
}

// NCCL looks for an interface itself, and need not find the one that the other nodes are behind.
// What the operator has set stays.
void name_interface(const Options& options) {
  const std::string name = interface_of(rank_address_of(options));
  if (!name.empty()) ::setenv("NCCL_SOCKET_IFNAME", ("=" + name).c_str(), 0);
}

struct Loaded {
  std::unique_ptr<Model> model;
  double seconds = 0;
  Options options;
};

class Server {
 public:
  Server(Loaded loaded, FileDescriptor signals)
      : loaded_(std::move(loaded)), signals_(std::move(signals)) {}

  int serve();

 private:
  bool say(const FromChild& message);
  bool was_terminated();
  // Runs what has arrived; false: the socket is of no use any more.
  bool receive();
  bool read_socket();
  bool handle(const ChildRun& run);
  bool handle(const ChildFound&) { return true; }  // of a run that is over
  bool handle(const ChildPiece&) { return true; }  // it asks for no files
  Result<std::unique_ptr<Comm>> meet(const ChildRun& run);
  FromChild failed(const ChildRun& run, const Error& error);
  FromChild draw(const ChildRun& run, const GenerateRequest& request, Comm* ranks);
  void show_preview(const ChildRun& run);

  Loaded loaded_;
  FileDescriptor signals_;
  FrameReader<ToChild> inbox_;
  Instant preview_shown_{};
  bool stop_ = false;      // SIGTERM came during this run
  bool poisoned_ = false;  // the device can't be used any more: this process ends

  // The ranks of a run find each other through their workers.
  class Meeting final : public Rendezvous {
   public:
    Meeting(Server& server, const ChildRun& run) : server_(server), run_(run) {}
    void put(const std::string& key, const std::string& value) override {
      server_.say(ChildLeft{.job = run_.job, .attempt = run_.attempt, .key = key, .value = value});
      found_[key] = value;
    }
    // Another rank may still be loading its model: how long that may take is the worker's to keep.
    Result<std::string> get(const std::string& key, Duration) override;

   private:
    bool take_found();

    Server& server_;
    const ChildRun& run_;
    std::map<std::string, std::string> found_;
  };
};

Result<std::string> Server::Meeting::get(const std::string& key, Duration) {
  const Error nobody{.code = Errc::device_failed, .detail = "another rank did not come"};
  for (;;) {
    if (!take_found()) return nobody;
    if (const auto found = found_.find(key); found != found_.end()) return found->second;
    pollfd sources[] = {{server_.signals_.get(), POLLIN, 0},
                        {executor_socket_descriptor, POLLIN, 0}};
    if (::poll(sources, std::size(sources), -1) < 0) continue;
    server_.stop_ = server_.was_terminated();
    if (server_.stop_ || (sources[1].revents != 0 && !server_.read_socket())) return nobody;
  }
}

// What has arrived, with the run itself or since. False: the socket is of no use any more.
bool Server::Meeting::take_found() {
  for (;;) {
    const auto message = server_.inbox_.next();
    if (!message) return false;
    if (!*message) return true;
    const auto* found = std::get_if<ChildFound>(&**message);
    if (found && found->job == run_.job && found->attempt == run_.attempt)
      found_[found->key] = found->value;
  }
}

int Server::serve() {
  if (!say(ChildReady{})) return code_of(ExecutorExit::worker_gone);
  for (;;) {
    pollfd sources[] = {{signals_.get(), POLLIN, 0}, {executor_socket_descriptor, POLLIN, 0}};
    if (::poll(sources, std::size(sources), -1) < 0) continue;
    if (was_terminated()) return 0;
    if (sources[1].revents != 0 && !receive()) return code_of(ExecutorExit::worker_gone);
    if (poisoned_) return code_of(ExecutorExit::poisoned);
  }
}

bool Server::say(const FromChild& message) {
  return static_cast<bool>(send_all(executor_socket_descriptor, frame_of(message)));
}

bool Server::was_terminated() {
  signalfd_siginfo signal;
  return ::read(signals_.get(), &signal, sizeof signal) == sizeof signal;
}

bool Server::read_socket() {
  char buffer[16 * 1024];
  const ssize_t got = ::recv(executor_socket_descriptor, buffer, sizeof buffer, 0);
  if (got < 0 && errno == EINTR) return true;
  if (got <= 0) return false;
  inbox_.add({buffer, static_cast<std::size_t>(got)});
  return true;
}

bool Server::receive() {
  if (!read_socket()) return false;
  for (;;) {
    auto message = inbox_.next();
    if (!message) return false;
    if (!*message) return true;
    if (!std::visit([this](const auto& one) { return handle(one); }, **message)) return false;
    if (poisoned_) return true;
  }
}

// With the other ranks of the run; alone: nullptr.
Result<std::unique_ptr<Comm>> Server::meet(const ChildRun& run) {
  if (run.ranks <= 1) return std::unique_ptr<Comm>{};
  Meeting meeting(*this, run);
  CommOptions options{.rank = static_cast<std::int32_t>(run.rank),
                      .size = static_cast<std::int32_t>(run.ranks)};
  if (const std::string address = rank_address_of(loaded_.options); !address.empty())
    options.address = address;
  auto comm = loaded_.model->device().meet(options, meeting);
  if (!comm) return comm.error();
  (*comm)->barrier();
  if (const Status together = (*comm)->status(); !together) return together.error();
  return comm;
}

bool Server::handle(const ChildRun& run) {
  const auto refuse = [&](const Error& error) {
    return say(ChildFailed{.job = run.job,
                           .attempt = run.attempt,
                           .cause = Errc::program_failed,
                           .detail = error.detail});
  };
  const auto arguments = parse_diffusion_arguments(run.arguments);
  if (!arguments) return refuse(arguments.error());
  const GenerateRequest request = request_of(*arguments);
  if (const Status fits = loaded_.model->check(request); !fits) return refuse(fits.error());
  log_line("model %s with %lld weights is resident, loaded in %.2f s, on %s\n",
           loaded_.model->name().c_str(), static_cast<long long>(loaded_.model->parameters()),
           loaded_.seconds, place_of(loaded_.options).c_str());
  log_request(*loaded_.model, request);
  stop_ = false;
  const auto ranks = meet(run);
  if (!ranks && stop_) return say(ChildStopped{.job = run.job, .attempt = run.attempt});
  if (!ranks) return say(failed(run, ranks.error()));
  if (run.ranks > 1) log_line("rank %u of %u\n", run.rank, run.ranks);
  return say(ChildBegan{.job = run.job, .attempt = run.attempt}) &&
         say(draw(run, request, ranks->get()));
}

// Only the device itself can say that it is why: another rank that was lost looks the same in a
// run, and so does memory that there was not enough of.
FromChild Server::failed(const ChildRun& run, const Error& error) {
  const Status well = loaded_.model->device().finish();
  poisoned_ = !well;
  if (!well)
    log_line("the device can't be used any more: %s; this executor ends\n",
             well.error().detail.c_str());
  const bool is_ours = error.code == Errc::device_failed && !poisoned_;
  return ChildFailed{.job = run.job,
                     .attempt = run.attempt,
                     .cause = is_ours ? Errc::executor_crashed : error.code,
                     .detail = error.detail};
}

// Seldom, since it waits for the device.
void Server::show_preview(const ChildRun& run) {
  const Instant now = boot_time();
  if (now - preview_shown_ < preview_interval) return;
  preview_shown_ = now;
  const auto picture = loaded_.model->preview();
  const auto png = picture ? encode_png(*picture) : Result<std::string>{std::string{}};
  if (png && !png->empty())
    say(ChildPreview{.job = run.job, .attempt = run.attempt, .bytes = *png});
}

// Rank 0 gives the picture that all of them have.
FromChild Server::draw(const ChildRun& run, const GenerateRequest& request, Comm* ranks) {
  const Instant start = boot_time();
  StepProgress last{.of = request.steps};
  const auto on_step = [&](StepProgress progress) {
    last = progress;
    const bool told = say(ChildStep{.job = run.job,
                                    .attempt = run.attempt,
                                    .step = static_cast<std::uint32_t>(progress.finished),
                                    .of_steps = static_cast<std::uint32_t>(progress.of)});
    if (ranks == nullptr && progress.finished < request.steps) show_preview(run);
    stop_ = stop_ || was_terminated();
    return told && !stop_ ? StepVerdict::go_on : StepVerdict::stop;
  };
  const auto drawn = loaded_.model->generate(request, on_step, ranks);
  // Nobody leaves before all have all.
  if (ranks != nullptr && drawn && *drawn) ranks->barrier();
  // A rank that was stopped a moment earlier can have ended it.
  if (!drawn) stop_ = stop_ || was_terminated();
  const double taken = seconds_since(start);
  log_line("%s after %d of %d steps in %.2f s, %.1f ms a step\n",
           !drawn   ? "failed"
           : *drawn ? "drawn"
                    : "stopped",
           last.finished, last.of, taken, last.finished > 0 ? taken * 1000 / last.finished : 0.0);
  if (!drawn) {
    const FromChild failure = failed(run, drawn.error());
    if (!stop_) return failure;
  }
  if (!drawn || !*drawn) return ChildStopped{.job = run.job, .attempt = run.attempt};
  if (run.rank > 0) return ChildHelped{.job = run.job, .attempt = run.attempt};
  auto png = encode_png((*drawn)->picture);
  if (!png) return failed(run, png.error());
  return ChildResult{
      .job = run.job, .attempt = run.attempt, .media_type = "image/png", .bytes = *std::move(png)};
}

int run_program(int count, char** arguments) {
  if (count == 3 && std::string_view(arguments[1]) == "--check")
    return load({.model = arguments[2], .cpu = {.threads = 1}}) ? 0 : code_of(ExecutorExit::model);
  const auto options = options_of(count, arguments);
  if (!options) {
    std::cerr << "usage: gpupool-diffusion --model FOLDER, and --threads N [--cores 0,1] or "
                 "--device cuda:UUID, [--precision f32|bf16] [--rank-address ADDRESS | "
                 "--rank-route HOST:PORT], with a worker's socket as descriptor 3\n";
    return code_of(ExecutorExit::usage);
  }
  ::signal(SIGPIPE, SIG_IGN);  // what gloo sends to a rank that is gone
  // Before the model makes its threads, so that none of them ever gets the signal.
  sigset_t terminate;
  ::sigemptyset(&terminate);
  ::sigaddset(&terminate, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &terminate, nullptr);
  FileDescriptor signals{::signalfd(-1, &terminate, SFD_CLOEXEC | SFD_NONBLOCK)};
  if (options->is_cuda()) name_interface(*options);
  const Instant start = boot_time();
  auto model = load(*options);
  if (!model)
    return code_of(model.error().code == Errc::device_failed ? ExecutorExit::device
                                                             : ExecutorExit::model);
  Loaded loaded{.model = *std::move(model), .seconds = seconds_since(start), .options = *options};
  return Server{std::move(loaded), std::move(signals)}.serve();
}

}  // namespace
}  // namespace gpupool

int main(int count, char** arguments) { return gpupool::run_program(count, arguments); }
