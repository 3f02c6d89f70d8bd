// Callers' files through a session: what is taken, and whose they become.
#include <catch2/catch.hpp>

#include "actors/session/session.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr SessionId session_id{7};

struct Talk {
  Config config = default_config();
  Session session{config, session_id};
  Effects effects;

  Talk() {
    config.apps.push_back({.name = "run", .executor = ExecutorKind::command, .tiers = {"free"}});
    tell(SessionOpened{session_id, {.account = {"user:ada"}, .tier = "free"}});
  }
  void tell(const ToSession& message) { effects = session.step({1'000}, message); }
  const StoreUpload* stored() const {
    if (effects.send.empty()) return nullptr;
    const auto* role = std::get_if<ToLedger>(&effects.send[0].message);
    return role == nullptr ? nullptr : std::get_if<StoreUpload>(role);
  }
  template <class Answer>
  Answer told() const {
    REQUIRE(effects.send.size() == 1);
    return std::get<Answer>(std::get<ToClient>(effects.send[0].message));
  }
};

ClientUpload upload(std::int64_t total, std::int64_t offset, std::size_t bytes) {
  return {.query = 3,
          .hash = std::string(64, 'a'),
          .total = total,
          .offset = offset,
          .bytes = std::string(bytes, 'x')};
}

}  // namespace

TEST_CASE("A piece of files goes to the ledger under the caller's own account, and back") {
  Talk talk;
  talk.tell(upload(5, 0, 5));
  REQUIRE(talk.stored() != nullptr);
  CHECK(talk.stored()->account.text == "user:ada");
  CHECK(talk.stored()->bytes == "xxxxx");
  talk.tell(
      UploadStored{.session = session_id, .answer = {.query = talk.stored()->query, .stored = 5}});
  CHECK(talk.told<UploadAnswer>().query == 3);
  CHECK(talk.told<UploadAnswer>().stored == 5);
}

TEST_CASE("What the ledger says against it reaches the client with its numbers") {
  Talk talk;
  talk.tell(upload(5, 0, 5));
  talk.tell(UploadStored{.session = session_id,
                         .answer = {.query = talk.stored()->query},
                         .error = Errc::overloaded,
                         .want = 7,
                         .have = 6});
  CHECK(talk.told<SessionError>().query == 3);
  CHECK(talk.told<SessionError>().code == Errc::overloaded);
  CHECK(talk.told<SessionError>().want == 7);
}

TEST_CASE("A piece of the wrong size, place or name goes nowhere") {
  Talk talk;
  constexpr std::int64_t piece = limits::upload_piece_bytes;
  ClientUpload named = upload(5, 0, 5);
  named.hash = "../" + std::string(61, 'a');
  for (const ClientUpload& one :
       {named, upload(0, 0, 0), upload(limits::files_bytes_max + 1, 0, 0), upload(5, 0, 4),
        upload(5, 0, 6), upload(5, 5, 1), upload(5, -1, 5), upload(2 * piece, 1, 100),
        upload(2 * piece, piece - 1, static_cast<std::size_t>(piece))}) {
    talk.tell(one);
    CHECK(talk.told<SessionError>().code == Errc::bad_request);
  }
}

TEST_CASE("Nobody uploads for whom there is no app that takes files") {
  Talk talk;
  talk.tell(SessionOpened{session_id, {.account = {"user:bob"}, .tier = "anonymous"}});
  talk.tell(upload(5, 0, 5));
  CHECK(talk.told<SessionError>().code == Errc::forbidden);
}

}  // namespace gpupool
