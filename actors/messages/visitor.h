#pragma once
// Between a node's device API and the broker's process, where each visitor of the API gets a
// session of its own: the broker's shell hands these to the gateway, whose keys and rulings say who
// the visitor is. Sessions of visitors are named by their node, with the highest bit set.

#include "actors/messages/client.h"
#include "actors/messages/parts.h"

namespace gpupool {

inline constexpr std::uint64_t visitor_bit = std::uint64_t{1} << 63U;
constexpr bool is_visitor(SessionId session) { return (session.value & visitor_bit) != 0; }

// The argument of a visitor's request that names the Space, and the one that names its task there.
inline constexpr const char* space_argument = "space";
inline constexpr const char* task_argument = "task";

// ---- Device API -> broker's process ----------------------------------------------------------

// Somebody asks for slots. The answers carry the session, until VisitorLeaves.
struct VisitorSubmits {
  SessionId session;
  std::string token;    // empty: none
  std::string address;  // by which somebody without a token is known
  RequestId request;
  JobRequest body;
  auto fields() { return std::tie(session, token, address, request, body); }
};

// Somebody asks what is left; answered by VisitorQuota or VisitorFailed.
struct VisitorAsks {
  SessionId session;
  std::string token;
  std::string address;
  auto fields() { return std::tie(session, token, address); }
};

// The end of its session; a job that is named is cancelled first. Session 0: of all that its API
// has.
struct VisitorLeaves {
  SessionId session;
  JobId job;
  auto fields() { return std::tie(session, job); }
};

// ---- Broker's process -> device API ----------------------------------------------------------

struct VisitorRecognised {
  SessionId session;
  Caller caller;
  auto fields() { return std::tie(session, caller); }
};

struct VisitorRefused {
  SessionId session;
  Refusal refusal;
  auto fields() { return std::tie(session, refusal); }
};

// Not answered: who the visitor is (unauthenticated), or nothing inside the pool did in time.
struct VisitorFailed {
  SessionId session;
  Errc code{};
  std::string detail;
  auto fields() { return std::tie(session, code, detail); }
};

struct VisitorMoved {
  SessionId session;
  JobEvent event;
  auto fields() { return std::tie(session, event); }
};

struct VisitorSettled {
  SessionId session;
  JobDone done;
  auto fields() { return std::tie(session, done); }
};

struct VisitorQuota {
  SessionId session;
  QuotaAnswer answer;
  auto fields() { return std::tie(session, answer); }
};

}  // namespace gpupool
