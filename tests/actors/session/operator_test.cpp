// How an operator's words and everybody's questions about changes pass through a session.
#include <catch2/catch.hpp>
#include <string>

#include "actors/session/session.h"
#include "config/limits.h"

using namespace gpupool;

namespace {

constexpr Instant noon{1'795'348'800'000};
constexpr SessionId session_id{7};

struct Talk {
  Config config = default_config();
  Session session{config, session_id};
  Instant now = noon;
  Effects effects;

  Talk() {
    tell(SessionOpened{session_id, {.account = {"user:root"}, .tier = "pro", .is_operator = true}});
  }
  void tell(const ToSession& message) { effects = session.step(now, message); }

  // The only message of the last step, to the role whose variant is Variant.
  template <class Sent, class Variant>
  Sent only(const Address& to) {
    REQUIRE(effects.send.size() == 1);
    CHECK(effects.send[0].to == to);
    const auto* role = std::get_if<Variant>(&effects.send[0].message);
    REQUIRE(role);
    REQUIRE(std::holds_alternative<Sent>(*role));
    return std::get<Sent>(*role);
  }
  template <class Sent>
  Sent told() {
    return only<Sent, ToClient>(to_client(session_id));
  }
};

}  // namespace

TEST_CASE("An operator's words go to the console with the caller, and its table comes back") {
  Talk talk;
  talk.tell(ClientOperate{.query = 5, .words = {"drain", "node-2"}});
  const auto operate = talk.only<Operate, ToConsole>(to_console());
  CHECK(operate.session == session_id);
  CHECK(operate.query != 5);
  CHECK(operate.caller.is_operator);
  CHECK(operate.words == std::vector<std::string>{"drain", "node-2"});
  talk.tell(Operated{.session = session_id,
                     .answer = {.query = operate.query, .table = {.title = "drain"}}});
  CHECK(talk.told<OperateAnswer>().query == 5);
  CHECK(talk.told<OperateAnswer>().table.title == "drain");
  CHECK(talk.session.open_questions() == 0);
}

TEST_CASE("What the console refuses reaches the client as an error with its numbers") {
  Talk talk;
  talk.tell(ClientOperate{.query = 5, .words = {"drain", "node-9"}});
  const auto operate = talk.only<Operate, ToConsole>(to_console());
  talk.tell(Operated{.session = session_id,
                     .answer = {.query = operate.query},
                     .error = Errc::timed_out,
                     .want = 8'000,
                     .have = 1,
                     .detail = "the broker did not answer"});
  const auto error = talk.told<SessionError>();
  CHECK(error.query == 5);
  CHECK(error.code == Errc::timed_out);
  CHECK(error.want == 8'000);
  CHECK(error.have == 1);
  CHECK(error.detail == "the broker did not answer");
}

TEST_CASE("Words beyond their bounds never reach the console") {
  Talk talk;
  std::string why;
  const auto refused = [&](std::vector<std::string> words) {
    talk.tell(ClientOperate{.query = 5, .words = std::move(words)});
    const auto error = talk.told<SessionError>();
    CHECK(error.code == Errc::bad_request);
    CHECK(talk.session.open_questions() == 0);
    why = error.detail;
  };
  refused({});
  refused({"drain", ""});
  CHECK(why == "word 2 of the command is empty; leave it out, or give it a value");
  refused({"drain", "\xc0\x80"});
  CHECK(why == "word 2 of the command is not UTF-8");
  refused({"announce", "down\nat noon"});
  CHECK(why.starts_with("word 2 of the command has a control character, such as a line break"));
  refused({std::string(static_cast<std::size_t>(limits::announcement_bytes_max) + 1, 'a')});
  refused(std::vector<std::string>(static_cast<std::size_t>(limits::operate_words_max) + 1, "a"));
}

TEST_CASE("A console that says nothing is given up, and its late answer is dropped") {
  Talk talk;
  talk.tell(ClientOperate{.query = 5, .words = {"nodes"}});
  const auto operate = talk.only<Operate, ToConsole>(to_console());
  talk.now = noon + session_answer_limit;
  talk.tell(Tick{});
  CHECK(talk.told<SessionError>().code == Errc::timed_out);
  talk.tell(Operated{.session = session_id, .answer = {.query = operate.query}});
  CHECK(talk.effects.send.empty());
}

TEST_CASE("A question about changes goes to the ledger with its caller, bounded") {
  Talk talk;
  talk.tell(ClientChanges{.query = 5, .since = noon - hours(24), .limit = 1'000'000});
  const auto query = talk.only<ChangesQuery, ToLedger>(to_ledger());
  CHECK(query.session == session_id);
  CHECK(query.caller.account.text == "user:root");
  CHECK(query.since == noon - hours(24));
  CHECK(query.limit == static_cast<std::uint32_t>(limits::changes_page_max));
  talk.tell(ChangesFound{
      .session = session_id,
      .answer = {.query = query.query, .changes = {{.who = "operator user:root"}}, .more = true}});
  const auto answer = talk.told<ChangesAnswer>();
  CHECK(answer.query == 5);
  CHECK(answer.more);
  CHECK(answer.changes.at(0).who == "operator user:root");
}

TEST_CASE("A question for no changes at all asks for one") {
  Talk talk;
  talk.tell(ClientChanges{.query = 5, .limit = 0});
  CHECK(talk.only<ChangesQuery, ToLedger>(to_ledger()).limit == 1);
}

TEST_CASE("An expired token asks neither the console nor for changes") {
  Talk talk;
  talk.tell(
      SessionOpened{session_id, {.account = {"user:root"}, .is_operator = true, .expires = noon}});
  talk.now = noon + seconds(1);
  talk.tell(ClientOperate{.query = 5, .words = {"nodes"}});
  CHECK(talk.told<SessionError>().code == Errc::unauthenticated);
  talk.tell(ClientChanges{.query = 6});
  CHECK(talk.told<SessionError>().code == Errc::unauthenticated);
}

TEST_CASE("A new announcement is passed on to the client, its end too") {
  Talk talk;
  talk.tell(Announcement{"node-2 is down until 18:00 UTC"});
  CHECK(talk.told<SessionNotice>().text == "node-2 is down until 18:00 UTC");
  talk.tell(Announcement{""});
  CHECK(talk.told<SessionNotice>().text.empty());
}
