#pragma once
// One connected client: who it is, its unanswered questions and the jobs that it follows. A pure
// state machine. Always holds: nothing is asked of the pool for a caller whose token has expired;
// only jobs of the caller's own account reach its client; both tables are bounded
// (limits::session_*). One thread (session_actor).
//
// How answers find their questions. Everything is one-way. Towards the pool a question carries the
// session's own number, never the client's, so a client's numbers need not be unique and a late
// answer to a question that is gone is recognised. Towards the client an answer carries the
// client's `query`, except JobEvent and JobDone, which name their job and its request id: a client
// finds its submit by the request id and its watch or cancel by the job. A repeated question (same
// query number) replaces the earlier one.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <variant>

#include "actors/effects.h"

namespace gpupool {

// A question without an answer for so long is given up: outcome_unknown for a submit, else
// timed_out.
inline constexpr Duration session_answer_limit = seconds(30);

class Session {
 public:
  // `config` outlives the session, as does every one given to use().
  Session(const Config& config, SessionId id);
  void use(const Config& config) { config_ = &config; }

  Effects step(Instant now, const ToSession& message);

  // The client is gone; the shell ends.
  bool finished() const { return finished_; }
  std::size_t open_questions() const { return questions_.size(); }

 private:
  // A refusal of the session's own, on its way to the ledger for the account's numbers.
  struct Refused {
    std::uint64_t query = 0;
    Refusal refusal;
  };
  using Asked =
      std::variant<ClientSubmit, ClientCancel, ClientWatch, ClientQuota, ClientReceipts, ClientJobs,
                   ClientExplain, ClientFetch, ClientLogs, ClientChanges, ClientUsage,
                   ClientOperate, ClientQuote, ClientUpload, ClientOverview, Refused>;
  struct Question {
    Asked asked;
    Instant due{};
    // What a node was asked for it, and when it is asked again: after another broker took over a
    // node is only there once it has joined.
    std::optional<std::pair<NodeId, ToWorker>> of_node{};
    Instant again = Instant::never();
  };
  using Questions = std::map<std::uint64_t, Question>;

  void on(const Tick& tick);
  void on(const SessionOpened& opened);
  void on(const SessionClosed& closed);
  void on(const ClientSubmit& submit);
  void on(const ClientCancel& cancel);
  void on(const ClientWatch& watch);
  void on(const ClientQuota& quota);
  void on(const ClientReceipts& receipts);
  void on(const ClientJobs& jobs);
  void on(const ClientExplain& explain);
  void on(const ClientFetch& fetch);
  void on(const ClientPing& ping);
  void on(const ClientLogs& logs);
  void on(const ClientChanges& changes);
  void on(const ClientUsage& usage);
  void on(const ClientQuote& quote);
  void on(const ClientOperate& operate);
  void on(const ClientUpload& upload);
  void on(const ClientOverview& overview);
  void on(const UploadStored& stored);
  void on(const LogChunk& chunk);
  void on(const ChangesFound& found);
  void on(const Operated& operated);
  void on(const OverviewFound& found);
  void on(const Announcement& announcement);
  void on(const SubmitRefused& refused);
  void on(const JobMoved& moved);
  void on(const JobSettled& settled);
  void on(const BrokerError& error);
  void on(const JobsList& list);
  void on(const QuotaFound& found);
  void on(const ReceiptsFound& found);
  void on(const ReceiptFound& found);
  void on(const UsageFound& found);
  void on(const Quoted& quoted);
  void on(const Explained& explained);
  void on(const ResultChunk& chunk);

  // May the client ask? If not, it has been told why.
  template <class Message>
  bool may_ask(const Message& message);
  bool names_job(std::uint64_t query, JobId job);
  std::uint64_t remember(Asked asked);
  // Ends a question and gives what was asked; empty if the answer is too late.
  template <class Wanted>
  std::optional<Wanted> take(std::uint64_t number);
  void give_up(const Asked& asked);
  void ask_node(NodeId node, std::uint64_t number, ToWorker message);
  void ask_node(Question& question);
  void end_questions_about(JobId job);

  Refusal refusal_of(const Error& error) const;
  Refusal refusal_of(const Error& error, const JobRequest& body) const;
  Refusal refusal_of(const Error& error, const ClientSubmit& submit) const;
  void refuse(std::uint64_t query, Refusal refusal);
  void refuse_with_balance(std::uint64_t query, Refusal refusal);
  void answer_error(std::uint64_t query, const Error& error);

  bool is_own(const AccountId& account) const { return account == caller_.account; }
  bool has_room_for_job() const;
  void remember_result(const Receipt& receipt);
  void fetch_from_node(const ClientFetch& fetch, const ResultRef& result);
  bool takes_files() const;
  // Logs (session_logs.cpp)
  bool follow_log(const JobsList& list);
  void fetch_log(const ClientLogs& logs, const ResultRef& log);
  std::string kept_for() const;  // how long results and logs are
  void tell_client(ToClient message) { out_.to(to_client(id_), std::move(message)); }

  const Config* config_;
  const SessionId id_;
  Instant now_{};
  Effects out_;

  bool opened_ = false;
  bool finished_ = false;
  Caller caller_;
  std::uint64_t last_number_ = 0;
  Questions questions_;
  std::set<JobId> following_;           // open jobs whose events go to the client
  std::map<JobId, ResultRef> results_;  // of jobs that this session saw end
  std::map<JobId, ResultRef> logs_;     // of the same ones
};

}  // namespace gpupool
