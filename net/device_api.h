#pragma once
// The ZeroGPU dialect: what programs that were written for ZeroGPU ask of the node that they run
// on, as messages to the pool and to the node's worker, and their answers as HTTP. Each visitor
// who asks for slots has a session of their own in the pool, until the grant or the end. Always: a
// visitor who goes leaves nothing in the queue; an answer to /release is never an error of ours;
// a token that was good when its visitor came stays good for that job. It keeps no rule about
// quota or slots. One thread, the HTTP server's; time and randomness are arguments.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "actors/messages.h"
#include "base/result.h"
#include "config/config.h"
#include "net/http.h"

namespace gpupool {

// What the API reaches. All are quick and may be called from its thread.
struct DeviceApiPorts {
  std::function<void(ToBroker)> to_pool;
  std::function<void(ToWorker)> to_worker;
  // The process that calls itself `pid` on this connection; forbidden: it is not the caller's.
  std::function<Result<LocalProcess>(const SpaceConfig&, std::int32_t pid, const HttpPeer&)> find;
  std::function<std::uint64_t()> random;  // that nobody can foresee
  std::function<Instant()> wall_now;      // UTC, for request ids
  // A number of the broker's process that is reached now; 0: none is.
  std::function<std::uint64_t()> pool;
};

class DeviceApi {
 public:
  // `config` outlives it.
  DeviceApi(const Config& config, DeviceApiPorts ports);

  void serve(Instant now, const HttpRequest& request, std::shared_ptr<HttpReply> reply);
  void hear(Instant now, const ToDeviceApi& message);
  // At least once a second.
  void tick(Instant now);

  std::size_t visitors() const { return visitors_.size(); }

 private:
  // Who waits for slots, or for what is left.
  struct Visitor {
    std::shared_ptr<HttpReply> reply;  // none: the visitor has gone, and the job is not known yet
    std::string app;
    std::string space{};
    JobId job;
    Instant since{};
    std::uint64_t pool = 0;  // that knows the session
    bool streams = false;
    Instant pinged{};
    std::optional<Caller> caller{};
    JobEvent event{};  // the last one, without its hold
    bool asks_quota = false;
  };
  // Of a worker's answer.
  struct Asked {
    std::shared_ptr<HttpReply> reply;
    Instant since{};
    bool releases = false;
  };

  const SpaceConfig* space_of(const std::string& path, std::string& rest) const;
  void schedule(Instant now, const SpaceConfig& space, const HttpRequest& request,
                std::shared_ptr<HttpReply> reply);
  void allow(Instant now, const SpaceConfig& space, const HttpRequest& request,
             std::shared_ptr<HttpReply> reply);
  void release(Instant now, const SpaceConfig& space, const HttpRequest& request,
               std::shared_ptr<HttpReply> reply);
  void quota(Instant now, const HttpRequest& request, std::shared_ptr<HttpReply> reply);
  void queue_size(const SpaceConfig& space, HttpReply& reply) const;

  void on(Instant now, const LeaseAnswer& answer);
  void on(Instant now, const VisitorRecognised& recognised);
  void on(Instant now, const VisitorRefused& refused);
  void on(Instant now, const VisitorFailed& failed);
  void on(Instant now, const VisitorMoved& moved);
  void on(Instant now, const VisitorSettled& settled);
  void on(Instant now, const VisitorQuota& quota);

  Visitor* find(SessionId session);
  SessionId welcome(Instant now, std::shared_ptr<HttpReply> reply);
  void when_gone(SessionId session);
  void leave(SessionId session, JobId cancelled);
  void begin_stream(Instant now, Visitor& visitor);
  void ping(Instant now, Visitor& visitor) const;
  void grant(SessionId session, Visitor& visitor, const Grant& grant);
  void remember(const std::string& token, const std::string& space);
  bool is_of_another(const std::string& token, const SpaceConfig& space) const;
  void give_up(SessionId session, Visitor& visitor);
  void cut_those_of_other_pools();
  HttpHeaders headers_of(const Visitor& visitor) const;
  std::string queuing_reason(const std::string& app) const;
  HttpAnswer refusal_of(const Visitor& visitor, const Refusal& refusal) const;

  const Config& config_;
  const DeviceApiPorts ports_;
  std::map<SessionId, Visitor> visitors_;  // bounded
  std::map<std::uint64_t, Asked> asked_;   // likewise
  std::uint64_t last_query_ = 0;
  // Which Space each token was granted to: the last limits::visitors_max that went through here.
  std::map<std::string, std::string> granted_;
  std::deque<std::string> granted_in_order_;
};

}  // namespace gpupool
