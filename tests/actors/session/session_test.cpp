// One client's session: what it lets through, how answers find their questions, and its bounds.
#include "actors/session/session.h"

#include <catch2/catch.hpp>
#include <string>

#include "base/pack.h"
#include "config/limits.h"

using namespace gpupool;

namespace {

constexpr Instant noon{1'795'348'800'000};
constexpr SessionId session_id{7};
constexpr NodeId node{42};

RequestId request_id(std::uint64_t number) {
  return {.high = static_cast<std::uint64_t>(noon.ms) << 16U | 0x7000U,
          .low = 0x8000'0000'0000'0000U | number};
}

Caller ada() {
  return {.account = {"user:ada"}, .tier = "free", .recognised_by = "token for ada, key k1"};
}

ClientSubmit red_heart(std::uint64_t query, std::uint64_t number = 1) {
  return {.query = query,
          .request = request_id(number),
          .body = {.app = "emoji", .arguments = {{"prompt", "a red heart"}}}};
}

JobMoved moved(std::uint64_t number, JobId job, const AccountId& account) {
  JobMoved answer{.session = session_id, .query = number};
  answer.event.job = job;
  answer.event.state = JobState::queued;
  answer.event.hold = Hold{.job = job, .account = account};
  return answer;
}

JobDone done(JobId job, const AccountId& account) {
  JobDone ended;
  ended.receipt.job = job;
  ended.receipt.account = account;
  ended.receipt.outcome = Outcome::succeeded;
  ended.receipt.result = {.hash = "c0ffee", .bytes = 100, .media_type = "image/png", .node = node};
  return ended;
}

// That something was refused is noted for the console each time; what is left is to the point.
Effects without_notes(Effects effects) {
  std::erase_if(effects.send, [](const Send& send) {
    const auto* told = std::get_if<ToConsole>(&send.message);
    return told && std::holds_alternative<RefusalNoted>(*told);
  });
  return effects;
}

// A session that ada's client has opened, with the messages of each step at hand.
struct Talk {
  Config config = default_config();
  Session session{config, session_id};
  Instant now = noon;
  Effects effects;

  Talk() { tell(SessionOpened{session_id, ada()}); }

  void tell(const ToSession& message) { effects = without_notes(session.step(now, message)); }

  // The only message sent by the last step, to the broker, ledger, worker or client.
  template <class Sent>
  Sent sent(const Address& to) {
    REQUIRE(effects.send.size() == 1);
    CHECK(effects.send[0].to == to);
    return found<Sent>(effects.send[0].message);
  }
  template <class Sent>
  static Sent found(const Message& message) {
    const Sent* one = nullptr;
    const auto look = [&](const auto& alternative) {
      if constexpr (std::is_same_v<std::decay_t<decltype(alternative)>, Sent>) one = &alternative;
    };
    std::visit([&](const auto& role) { std::visit(look, role); }, message);
    REQUIRE(one);
    return *one;
  }
  template <class Sent>
  Sent to_broker_sent() {
    return sent<Sent>(to_broker());
  }
  template <class Sent>
  Sent to_ledger_sent() {
    return sent<Sent>(to_ledger());
  }
  template <class Sent>
  Sent to_client_sent() {
    return sent<Sent>(to_client(session_id));
  }

  // A job of ada's that this client follows.
  void follow(JobId job, std::uint64_t query = 100) {
    tell(red_heart(query, job.value));
    tell(moved(to_broker_sent<Submit>().query, job, ada().account));
    CHECK(to_client_sent<JobEvent>().job == job);
  }
};

}  // namespace

TEST_CASE("A submit goes to the broker with its caller and the hash of its body") {
  Talk talk;
  const ClientSubmit submit = red_heart(5);
  talk.tell(submit);
  const auto passed = talk.to_broker_sent<Submit>();
  CHECK(passed.session == session_id);
  CHECK(passed.caller.account == ada().account);
  CHECK(passed.request == submit.request);
  CHECK(passed.body_hash == hash_of(pack(submit.body)));
  CHECK(passed.body.arguments.at(0).value == "a red heart");
}

TEST_CASE("A refusal reaches the client under its own query, with sentence and hint") {
  Talk talk;
  talk.tell(red_heart(5));
  const std::uint64_t number = talk.to_broker_sent<Submit>().query;
  Refusal refusal{.code = Errc::too_many_jobs, .want = 5, .have = 4};
  refusal.balance.tier = "free";
  talk.tell(SubmitRefused{session_id, number, refusal});
  const auto refused = talk.to_client_sent<SessionRefused>();
  CHECK(refused.query == 5);
  CHECK(refused.refusal.sentence ==
        "this would be admitted job 5 of the account; tier free may have 4 queued or running at "
        "once");
  CHECK_FALSE(refused.refusal.hint.empty());
  CHECK(talk.session.open_questions() == 0);
}

TEST_CASE("A followed job's events and its receipt reach the client once each") {
  Talk talk;
  talk.follow(JobId{3});
  JobMoved running = moved(0, JobId{3}, ada().account);
  running.event.hold = {};
  running.event.state = JobState::running;
  talk.tell(running);
  CHECK(talk.to_client_sent<JobEvent>().state == JobState::running);
  const JobSettled settled{session_id, 0, done(JobId{3}, ada().account)};
  talk.tell(settled);
  CHECK(talk.to_client_sent<JobDone>().receipt.job == JobId{3});
  talk.tell(settled);
  CHECK(talk.effects.send.empty());
}

TEST_CASE("A submit whose job is over already is answered by its receipt, again if asked again") {
  Talk talk;
  for (const std::uint64_t query : {1, 2}) {
    talk.tell(red_heart(query));
    const std::uint64_t number = talk.to_broker_sent<Submit>().query;
    talk.tell(JobSettled{session_id, number, done(JobId{3}, ada().account)});
    CHECK(talk.to_client_sent<JobDone>().receipt.job == JobId{3});
    CHECK(talk.session.open_questions() == 0);
  }
}

TEST_CASE("Events and receipts of another account never reach the client") {
  Talk talk;
  talk.tell(moved(0, JobId{9}, AccountId{"user:bob"}));
  CHECK(talk.effects.send.empty());
  talk.tell(JobSettled{session_id, 0, done(JobId{9}, AccountId{"user:bob"})});
  CHECK(talk.effects.send.empty());
  talk.tell(ClientFetch{1, JobId{9}, 0});
  const auto asked = talk.to_ledger_sent<ReceiptQuery>();
  CHECK(asked.account == ada().account);
  talk.tell(ReceiptFound{session_id, asked.query, Errc{}, done(JobId{9}, AccountId{"user:bob"})});
  CHECK(talk.to_client_sent<SessionError>().code == Errc::job_unknown);
}

TEST_CASE("An expired token is unauthenticated, for submits as a refusal and never anonymous") {
  Talk talk;
  Caller caller = ada();
  caller.expires = noon + seconds(60);
  talk.tell(SessionOpened{session_id, caller});
  talk.now = caller.expires;
  talk.tell(red_heart(5));
  talk.tell(moved(talk.to_broker_sent<Submit>().query, JobId{3}, caller.account));

  talk.now = caller.expires + Duration{1};
  talk.tell(red_heart(6, 2));
  const auto refused = talk.to_client_sent<SessionRefused>();
  CHECK(refused.query == 6);
  CHECK(refused.refusal.code == Errc::unauthenticated);
  CHECK(refused.refusal.request == request_id(2));
  CHECK(refused.refusal.recognised_by == "token for ada, key k1");
  CHECK(refused.refusal.detail ==
        "the token expired at 2026-11-22T12:01:00Z, 0:00:01 (h:mm:ss) ago");
  CHECK(refused.refusal.sentence == "the caller is not recognised: " + refused.refusal.detail);

  const std::vector<ToSession> questions{ClientQuota{1},           ClientJobs{1},
                                         ClientReceipts{1, {}, 5}, ClientCancel{1, JobId{3}},
                                         ClientWatch{1, JobId{3}}, ClientExplain{1, JobId{3}, {}},
                                         ClientFetch{1, JobId{3}}};
  for (const ToSession& question : questions) {
    talk.tell(question);
    const auto error = talk.to_client_sent<SessionError>();
    CHECK(error.query == 1);
    CHECK(error.code == Errc::unauthenticated);
    CHECK(error.detail.rfind("the token expired at ", 0) == 0);
  }
}

TEST_CASE("What was admitted before the token expired goes on to be told") {
  Talk talk;
  Caller caller = ada();
  caller.expires = noon + seconds(60);
  talk.tell(SessionOpened{session_id, caller});
  talk.follow(JobId{3});
  talk.now = noon + hours(1);
  talk.tell(JobSettled{session_id, 0, done(JobId{3}, ada().account)});
  CHECK(talk.to_client_sent<JobDone>().receipt.job == JobId{3});
  talk.tell(ClientPing{8});
  CHECK(talk.to_client_sent<SessionPong>().query == 8);
}

TEST_CASE("A new token of the same account takes effect and keeps the followed jobs") {
  Talk talk;
  Caller caller = ada();
  caller.expires = noon - seconds(1);
  talk.tell(SessionOpened{session_id, caller});
  talk.tell(ClientQuota{1});
  CHECK(talk.to_client_sent<SessionError>().code == Errc::unauthenticated);
  caller.expires = noon + hours(1);
  talk.tell(SessionOpened{session_id, caller});
  CHECK(talk.effects.send.empty());
  talk.tell(ClientQuota{1});
  CHECK(talk.to_ledger_sent<QuotaQuery>().caller.expires == caller.expires);
}

TEST_CASE("Another account on the same connection inherits nothing of the earlier one") {
  Talk talk;
  talk.follow(JobId{3});
  talk.tell(ClientQuota{1});
  const std::uint64_t number = talk.to_ledger_sent<QuotaQuery>().query;
  Caller bob = ada();
  bob.account = {"user:bob"};
  talk.tell(SessionOpened{session_id, bob});
  CHECK(talk.to_broker_sent<ClientGone>().session == session_id);
  QuotaFound late{.session = session_id};
  late.answer.query = number;
  talk.tell(late);
  CHECK(talk.effects.send.empty());
  JobMoved event = moved(0, JobId{3}, ada().account);
  talk.tell(event);
  CHECK(talk.effects.send.empty());
  talk.tell(JobSettled{session_id, 0, done(JobId{3}, ada().account)});
  CHECK(talk.effects.send.empty());
}

TEST_CASE("A malformed submit is a bad request with the account's numbers") {
  struct Case {
    ClientSubmit submit;
    std::string detail;
  };
  std::vector<Case> cases(9, Case{red_heart(5), ""});
  cases[0].submit.request = {.high = 1, .low = 2};
  cases[0].detail = "the request id is not a UUID of version 7";
  cases[1].submit.body.app.clear();
  cases[1].detail = "the request names no app";
  cases[2].submit.body.app = std::string(65, 'a');
  cases[2].detail = "the app's name has 65 bytes; at most 64 are allowed";
  cases[3].submit.body.size = "\xff";
  cases[3].detail = "the size's name is not plain text in UTF-8";
  cases[4].submit.body.arguments.resize(33, {"key", "value"});
  cases[4].detail = "33 arguments; at most 32 are allowed";
  cases[5].submit.body.arguments[0].key.clear();
  cases[5].detail = "an argument has no name";
  cases[6].submit.body.arguments[0].value = std::string(32'769, 'a');
  cases[6].detail = "argument \"prompt\" has 32769 bytes; at most 32768 are allowed";
  cases[7].submit.body.arguments[0].value = "caf\xc3";
  cases[7].detail = "argument \"prompt\" is not UTF-8";
  cases[8].submit.body.arguments = {{"a", std::string(32'000, 'a')},
                                    {"b", std::string(17'200, 'b')}};
  cases[8].detail = "the whole request has 49226 bytes; at most 49152 are allowed";
  for (const Case& one : cases) {
    Talk talk;
    talk.tell(one.submit);
    QuotaFound found{.session = session_id};
    found.answer.query = talk.to_ledger_sent<QuotaQuery>().query;
    found.answer.balance.left = {123'000};
    found.answer.balance.tier = "free";
    talk.tell(found);
    const auto refused = talk.to_client_sent<SessionRefused>();
    CHECK(refused.query == 5);
    CHECK(refused.refusal.code == Errc::bad_request);
    CHECK(refused.refusal.detail == one.detail);
    CHECK(refused.refusal.sentence == "the request is malformed: " + one.detail);
    CHECK(refused.refusal.balance.left == GpuTime{123'000});
    CHECK(refused.refusal.declared == (one.submit.body.app == "emoji" ? seconds(60) : Duration{}));
  }
}

TEST_CASE("A malformed submit is refused without the numbers when the ledger does not answer") {
  Talk talk;
  ClientSubmit submit = red_heart(5);
  submit.body.app.clear();
  talk.tell(submit);
  CHECK(talk.effects.wake_at == noon + session_answer_limit);
  talk.now = talk.effects.wake_at;
  talk.tell(Tick{});
  CHECK(talk.to_client_sent<SessionRefused>().refusal.code == Errc::bad_request);
  CHECK(talk.effects.wake_at == Instant::never());
}

TEST_CASE("A cancel is answered by the receipt, when the job has ended") {
  Talk talk;
  talk.tell(ClientCancel{4, JobId{3}});
  const auto cancel = talk.to_broker_sent<Cancel>();
  CHECK(cancel.account == ada().account);
  talk.tell(moved(cancel.query, JobId{3}, ada().account));
  CHECK(talk.to_client_sent<JobEvent>().job == JobId{3});
  CHECK(talk.session.open_questions() == 1);
  talk.tell(JobSettled{session_id, 0, done(JobId{3}, ada().account)});
  CHECK(talk.to_client_sent<JobDone>().receipt.job == JobId{3});
  CHECK(talk.session.open_questions() == 0);
}

TEST_CASE("A cancel or watch of a settled job is answered by the ledger's receipt") {
  const std::vector<ToSession> questions{ClientCancel{4, JobId{3}}, ClientWatch{4, JobId{3}}};
  for (const ToSession& question : questions) {
    Talk talk;
    talk.tell(question);
    const Message& asked = talk.effects.send.at(0).message;
    const std::uint64_t number = question.index() == ToSession{ClientCancel{}}.index()
                                     ? Talk::found<Cancel>(asked).query
                                     : Talk::found<Watch>(asked).query;
    talk.tell(BrokerError{session_id, number, Errc::job_unknown, ""});
    const auto receipt = talk.to_ledger_sent<ReceiptQuery>();
    CHECK(receipt.job == JobId{3});
    talk.tell(ReceiptFound{session_id, receipt.query, Errc{}, done(JobId{3}, ada().account)});
    CHECK(talk.to_client_sent<JobDone>().receipt.job == JobId{3});
    CHECK(talk.session.open_questions() == 0);
  }
}

TEST_CASE("A cancel of a job that nobody knows is job_unknown") {
  Talk talk;
  talk.tell(ClientCancel{4, JobId{3}});
  const std::uint64_t number = talk.to_broker_sent<Cancel>().query;
  talk.tell(BrokerError{session_id, number, Errc::job_unknown, ""});
  talk.tell(ReceiptFound{session_id, number, Errc::job_unknown, {}});
  const auto error = talk.to_client_sent<SessionError>();
  CHECK(error.query == 4);
  CHECK(error.code == Errc::job_unknown);
}

TEST_CASE("A submit that the broker cannot place is answered with the broker's error") {
  Talk talk;
  talk.tell(red_heart(5));
  const std::uint64_t number = talk.to_broker_sent<Submit>().query;
  talk.tell(BrokerError{session_id, number, Errc::outcome_unknown, "ask again in a moment"});
  const auto error = talk.to_client_sent<SessionError>();
  CHECK(error.query == 5);
  CHECK(error.code == Errc::outcome_unknown);
  CHECK(error.detail == "ask again in a moment");
}

TEST_CASE("Questions to the ledger and the broker come back under the client's query") {
  Talk talk;
  talk.tell(ClientQuota{11});
  QuotaFound quota{.session = session_id};
  quota.answer.query = talk.to_ledger_sent<QuotaQuery>().query;
  talk.tell(quota);
  CHECK(talk.to_client_sent<QuotaAnswer>().query == 11);

  talk.tell(ClientReceipts{12, JobId{50}, 4'000'000'000U});
  const auto asked = talk.to_ledger_sent<ReceiptsQuery>();
  CHECK(asked.limit == limits::receipts_page_max);
  CHECK(asked.before == JobId{50});
  ReceiptsFound receipts{.session = session_id};
  receipts.answer.query = asked.query;
  talk.tell(receipts);
  CHECK(talk.to_client_sent<ReceiptsAnswer>().query == 12);

  talk.tell(ClientJobs{13});
  JobsList jobs{.session = session_id};
  jobs.answer.query = talk.to_broker_sent<JobsQuery>().query;
  talk.tell(jobs);
  CHECK(talk.to_client_sent<JobsAnswer>().query == 13);

  talk.tell(ClientExplain{14, JobId{3}, {}});
  Explained explained{.session = session_id};
  explained.answer.query = talk.to_ledger_sent<ExplainQuery>().query;
  talk.tell(explained);
  CHECK(talk.to_client_sent<ExplainAnswer>().query == 14);

  talk.tell(ClientExplain{15, {}, request_id(1)});
  explained.answer.query = talk.to_ledger_sent<ExplainQuery>().query;
  explained.error = Errc::job_unknown;
  talk.tell(explained);
  CHECK(talk.to_client_sent<SessionError>().query == 15);
}

TEST_CASE("A quote goes to the broker with who asks, and its refusal leaves with its words") {
  Talk talk;
  talk.tell(ClientQuote{.query = 31, .body = {.app = "emoji", .declared = seconds(9)}});
  const auto asked = talk.to_broker_sent<Quote>();
  CHECK(asked.caller.account == ada().account);
  CHECK(asked.body.declared == seconds(9));
  Quoted quoted{.session = session_id};
  quoted.answer = {.query = asked.query, .cost = {9'000}};
  talk.tell(quoted);
  CHECK(talk.to_client_sent<QuoteAnswer>().query == 31);

  talk.tell(ClientQuote{.query = 32, .body = {.app = "emoji"}});
  quoted.answer = {.query = talk.to_broker_sent<Quote>().query,
                   .refusal = {.code = Errc::too_many_jobs, .want = 5, .have = 4}};
  talk.tell(quoted);
  const auto refused = talk.to_client_sent<QuoteAnswer>();
  CHECK(refused.query == 32);
  CHECK_FALSE(refused.refusal.sentence.empty());
  CHECK_FALSE(refused.refusal.hint.empty());

  talk.tell(ClientQuote{.query = 33, .body = {}});
  CHECK(talk.to_client_sent<SessionError>().code == Errc::bad_request);
}

TEST_CASE("Questions about the past are answered, or it is said that the past cannot be read") {
  Talk talk;
  talk.tell(ClientUsage{.query = 21, .since = {5}, .limit = 4'000'000'000U});
  const auto asked = talk.to_ledger_sent<UsageQuery>();
  CHECK(asked.account == ada().account);
  CHECK(asked.since == Instant{5});
  CHECK(asked.limit == limits::usage_days_max);
  UsageFound usage{.session = session_id, .answer = {.days = {{.jobs = 3}}}};
  usage.answer.query = asked.query;
  talk.tell(usage);
  const auto answer = talk.to_client_sent<UsageAnswer>();
  CHECK(answer.query == 21);
  CHECK(answer.days.front().jobs == 3);

  talk.tell(ClientUsage{.query = 22});
  usage = {.session = session_id, .error = Errc::history_unavailable};
  usage.answer.query = talk.to_ledger_sent<UsageQuery>().query;
  talk.tell(usage);
  CHECK(talk.to_client_sent<SessionError>().code == Errc::history_unavailable);

  talk.tell(ClientReceipts{.query = 23});
  ReceiptsFound receipts{.session = session_id, .error = Errc::history_unavailable};
  receipts.answer.query = talk.to_ledger_sent<ReceiptsQuery>().query;
  talk.tell(receipts);
  CHECK(talk.to_client_sent<SessionError>().code == Errc::history_unavailable);

  talk.tell(ClientExplain{24, JobId{3}, {}});
  Explained explained{.session = session_id, .error = Errc::history_unavailable};
  explained.answer.query = talk.to_ledger_sent<ExplainQuery>().query;
  talk.tell(explained);
  const auto error = talk.to_client_sent<SessionError>();
  CHECK(error.code == Errc::history_unavailable);
  CHECK(error.detail.find("safe") != std::string::npos);
}

TEST_CASE("A question that names nothing is a bad request") {
  Talk talk;
  const std::vector<ToSession> questions{ClientCancel{1, {}}, ClientWatch{1, {}},
                                         ClientFetch{1, {}, 0}, ClientExplain{1, {}, {}}};
  for (const ToSession& question : questions) {
    talk.tell(question);
    CHECK(talk.to_client_sent<SessionError>().code == Errc::bad_request);
    CHECK(talk.session.open_questions() == 0);
  }
}

TEST_CASE("A result is fetched from the node that keeps it, without asking for the receipt again") {
  Talk talk;
  talk.follow(JobId{3});
  talk.tell(JobSettled{session_id, 0, done(JobId{3}, ada().account)});
  talk.tell(ClientFetch{21, JobId{3}, 48});
  const auto fetch = talk.sent<FetchResult>(to_worker(node));
  CHECK(fetch.hash == "c0ffee");
  CHECK(fetch.offset == 48);
  talk.tell(ResultChunk{.query = fetch.query,
                        .session = session_id,
                        .job = JobId{3},
                        .offset = 48,
                        .total = 100,
                        .bytes = "picture"});
  const auto chunk = talk.to_client_sent<ResultChunk>();
  CHECK(chunk.query == 21);
  CHECK(chunk.bytes == "picture");
}

TEST_CASE("The result of a job that this session never saw is found by its receipt") {
  Talk talk;
  talk.tell(ClientFetch{21, JobId{3}, 0});
  const auto asked = talk.to_ledger_sent<ReceiptQuery>();
  talk.tell(ReceiptFound{session_id, asked.query, Errc{}, done(JobId{3}, ada().account)});
  const auto fetch = talk.sent<FetchResult>(to_worker(node));
  talk.tell(ResultChunk{.query = fetch.query, .job = JobId{3}, .error = Errc::result_gone});
  const auto error = talk.to_client_sent<SessionError>();
  CHECK(error.query == 21);
  CHECK(error.code == Errc::result_gone);
  CHECK(error.detail == "a result is kept 24 h, within the node's limit of bytes");
}

TEST_CASE("A node that is not there yet is asked again every second, and answered for once") {
  Talk talk;
  talk.follow(JobId{3});
  talk.tell(JobSettled{session_id, 0, done(JobId{3}, ada().account)});
  talk.tell(ClientFetch{21, JobId{3}, 48});
  const auto fetch = talk.sent<FetchResult>(to_worker(node));
  CHECK(talk.effects.wake_at == talk.now + seconds(1));
  talk.now = talk.now + seconds(1);
  talk.tell(Tick{});
  CHECK(talk.sent<FetchResult>(to_worker(node)).query == fetch.query);
  const ResultChunk chunk{
      .query = fetch.query, .session = session_id, .job = JobId{3}, .bytes = "picture"};
  talk.tell(chunk);
  CHECK(talk.to_client_sent<ResultChunk>().bytes == "picture");
  talk.tell(chunk);
  CHECK(talk.effects.send.empty());
}

TEST_CASE("How long a result is kept is said in seconds where it is no whole number of hours") {
  Talk talk;
  talk.config.worker.result_keep = seconds(90);
  talk.tell(ClientFetch{21, JobId{3}, 0});
  const auto asked = talk.to_ledger_sent<ReceiptQuery>();
  talk.tell(ReceiptFound{session_id, asked.query, Errc{}, done(JobId{3}, ada().account)});
  const auto fetch = talk.sent<FetchResult>(to_worker(node));
  talk.tell(ResultChunk{.query = fetch.query, .job = JobId{3}, .error = Errc::result_gone});
  CHECK(talk.to_client_sent<SessionError>().detail ==
        "a result is kept 90.0 s, within the node's limit of bytes");
}

TEST_CASE("A job without a result and an offset beyond it are told apart") {
  Talk talk;
  JobDone ended = done(JobId{3}, ada().account);
  talk.tell(JobSettled{session_id, 0, ended});
  talk.tell(ClientFetch{21, JobId{3}, 101});
  CHECK(talk.to_client_sent<SessionError>().code == Errc::bad_request);
  talk.tell(ClientFetch{21, JobId{3}, -1});
  CHECK(talk.to_client_sent<SessionError>().code == Errc::bad_request);
  ended.receipt.job = JobId{4};
  ended.receipt.result = {};
  talk.tell(JobSettled{session_id, 0, ended});
  talk.tell(ClientFetch{22, JobId{4}, 0});
  CHECK(talk.to_client_sent<SessionError>().code == Errc::result_gone);
}

TEST_CASE("Unanswered questions are bounded, and each is given up after its limit") {
  Talk talk;
  const auto most = static_cast<std::uint64_t>(limits::session_queries_max);
  for (std::uint64_t query = 1; query <= most; ++query) {
    talk.tell(ClientQuota{query});
    talk.to_ledger_sent<QuotaQuery>();
  }
  talk.tell(ClientQuota{most + 1});
  const auto error = talk.to_client_sent<SessionError>();
  CHECK(error.code == Errc::overloaded);
  CHECK(error.query == most + 1);
  CHECK(error.want == limits::session_queries_max + 1);
  CHECK(error.have == limits::session_queries_max);

  talk.now = talk.effects.wake_at - Duration{1};
  talk.tell(Tick{});
  CHECK(talk.effects.send.empty());
  talk.now = talk.effects.wake_at;
  talk.tell(Tick{});
  CHECK(talk.effects.send.size() == most);
  CHECK(Talk::found<SessionError>(talk.effects.send[0].message).code == Errc::timed_out);
  CHECK(talk.session.open_questions() == 0);
}

TEST_CASE("A submit without an answer has an unknown outcome, and a late answer still arrives") {
  Talk talk;
  talk.tell(red_heart(5));
  const std::uint64_t number = talk.to_broker_sent<Submit>().query;
  talk.now = noon + session_answer_limit;
  talk.tell(Tick{});
  CHECK(talk.to_client_sent<SessionError>().code == Errc::outcome_unknown);
  talk.tell(moved(number, JobId{3}, ada().account));
  CHECK(talk.to_client_sent<JobEvent>().job == JobId{3});
}

TEST_CASE("A question repeated under its number replaces the earlier one") {
  Talk talk;
  talk.tell(ClientQuota{1});
  const std::uint64_t first = talk.to_ledger_sent<QuotaQuery>().query;
  talk.tell(ClientQuota{1});
  const std::uint64_t second = talk.to_ledger_sent<QuotaQuery>().query;
  CHECK(talk.session.open_questions() == 1);
  QuotaFound found{.session = session_id};
  found.answer.query = first;
  talk.tell(found);
  CHECK(talk.effects.send.empty());
  found.answer.query = second;
  talk.tell(found);
  CHECK(talk.to_client_sent<QuotaAnswer>().query == 1);
}

TEST_CASE("A client follows no more jobs than its table holds") {
  Talk talk;
  const auto most = static_cast<std::uint64_t>(limits::session_jobs_max);
  for (std::uint64_t job = 1; job <= most; ++job) talk.tell(moved(0, JobId{job}, ada().account));
  talk.tell(red_heart(5));
  QuotaFound found{.session = session_id};
  found.answer.query = talk.to_ledger_sent<QuotaQuery>().query;
  talk.tell(found);
  const auto refused = talk.to_client_sent<SessionRefused>();
  CHECK(refused.refusal.code == Errc::overloaded);
  CHECK(refused.refusal.have == limits::session_jobs_max);
  talk.tell(ClientWatch{6, JobId{most + 1}});
  CHECK(talk.to_client_sent<SessionError>().code == Errc::overloaded);
  talk.tell(JobSettled{session_id, 0, done(JobId{1}, ada().account)});
  talk.tell(red_heart(7));
  talk.to_broker_sent<Submit>();
}

TEST_CASE("A closed session tells the broker once, is finished, and says nothing more") {
  Talk talk;
  talk.tell(ClientQuota{1});
  talk.tell(SessionClosed{session_id});
  CHECK(talk.to_broker_sent<ClientGone>().session == session_id);
  CHECK(talk.effects.wake_at == Instant::never());
  CHECK(talk.session.finished());
  talk.tell(red_heart(5));
  CHECK(talk.effects.send.empty());
  talk.tell(SessionClosed{session_id});
  CHECK(talk.effects.send.empty());
}

TEST_CASE("Each refusal is noted by the console, with its code alone") {
  const Config config = default_config();
  Session session{config, session_id};
  const Effects effects = session.step(noon, red_heart(1));
  REQUIRE(effects.send.size() == 2);
  CHECK(effects.send[0].to == to_console());
  CHECK(Talk::found<RefusalNoted>(effects.send[0].message).code == Errc::unauthenticated);
}

TEST_CASE("The overview is the console's to give, and its refusal is told") {
  Talk talk;
  talk.tell(ClientOverview{.query = 5});
  const auto asked = talk.sent<OverviewQuery>(to_console());
  CHECK(asked.caller.account == AccountId{"user:ada"});
  talk.tell(OverviewFound{.session = session_id,
                          .query = asked.query,
                          .error = Errc::forbidden,
                          .detail = "only operators may"});
  CHECK(talk.to_client_sent<SessionError>().code == Errc::forbidden);
  talk.tell(ClientOverview{.query = 6});
  const auto again = talk.sent<OverviewQuery>(to_console());
  talk.tell(OverviewFound{
      .session = session_id, .query = again.query, .overview = Overview{.waiting = 3}});
  CHECK(talk.to_client_sent<OverviewAnswer>().query == 6);
  CHECK(talk.to_client_sent<OverviewAnswer>().overview->waiting == 3);
}

TEST_CASE("Nobody asks before the session is open") {
  const Config config = default_config();
  Session session{config, session_id};
  const Effects effects = without_notes(session.step(noon, red_heart(1)));
  REQUIRE(effects.send.size() == 1);
  CHECK(Talk::found<SessionRefused>(effects.send[0].message).refusal.code == Errc::unauthenticated);
}
