#include "net/certificate_handshakes.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "base/clock.h"
#include "net/certificate.h"
#include "net/certificate_handles.h"

namespace gpupool {
namespace {

std::string address_of(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (socket < 0 || ::getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    return "an unknown address";
  const void* bytes = &reinterpret_cast<const sockaddr_in*>(&address)->sin_addr;
  if (address.ss_family == AF_INET6)
    bytes = &reinterpret_cast<const sockaddr_in6*>(&address)->sin6_addr;
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (::inet_ntop(address.ss_family, bytes, text.data(), text.size()) == nullptr) return "unknown";
  return text.data();
}

HandshakeNews::Side side_of(const SSL* session) {
  return SSL_is_server(session) == 1 ? HandshakeNews::Side::dialled_here
                                     : HandshakeNews::Side::dialled_there;
}

// CAF's sessions demand a certificate of both sides; others in this process, e.g. of PostgreSQL's
// client, are none of our business.
bool is_ours(const SSL* session) {
  return (SSL_get_verify_mode(session) & SSL_VERIFY_FAIL_IF_NO_PEER_CERT) != 0;
}

std::string why_refused(const SSL* session, unsigned long error) {
  if (const long verified = SSL_get_verify_result(session); verified != X509_V_OK)
    return X509_verify_cert_error_string(verified);
  switch (ERR_GET_REASON(error)) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_UNEXPECTED_MESSAGE:
      return "what it sent is not TLS, as of a gpupoold without certificates";
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return "it showed no certificate";
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
      return "it knows another authority than this machine's (unknown ca)";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
      return "it takes this machine's certificate for one that has expired";
    default:
      break;
  }
  const char* reason = ERR_reason_error_string(error);
  return reason == nullptr ? "no reason given" : reason;
}

std::string words_of(X509* certificate) {
  const Bio text(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(text.get(), certificate);
  const auto facts = read_certificate(written_to(text));
  return facts ? facts->name + ", certificate " + facts->fingerprint.substr(0, 23) : "";
}

HandshakeGuard* guard_of(const SSL* session);

void on_progress(const SSL* session, int where, int result) {
  HandshakeGuard* guard = guard_of(session);
  if (guard == nullptr) return;
  if ((where & SSL_CB_HANDSHAKE_START) != 0) guard->began(session);
  if ((where & SSL_CB_HANDSHAKE_DONE) != 0) guard->done(session);
  if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT) guard->told_off(session, result);
  if ((where & SSL_CB_EXIT) != 0 && result <= 0) guard->failed(session);
}

// Before anything is made of a record that came in: what another connection of this thread left in
// the queue is no error of this one.
void on_record(int is_written, int, int, const void*, std::size_t, SSL*, void*) {
  if (is_written == 0) ERR_clear_error();
}

void on_made(void* session, void*, CRYPTO_EX_DATA* own, int index, long, void* guard) {
  SSL* made = static_cast<SSL*>(session);
  if (!is_ours(made)) return;
  CRYPTO_set_ex_data(own, index, guard);
  SSL_set_info_callback(made, on_progress);
  SSL_set_msg_callback(made, on_record);
  SSL_set_min_proto_version(made, TLS1_3_VERSION);
  // CAF never says goodbye, so an end without it is the usual one, and no error.
  SSL_set_options(made, SSL_OP_IGNORE_UNEXPECTED_EOF);
}

void on_freed(void* session, void*, CRYPTO_EX_DATA* own, int index, long, void*) {
  auto* guard = static_cast<HandshakeGuard*>(CRYPTO_get_ex_data(own, index));
  if (guard != nullptr) guard->gone(static_cast<SSL*>(session));
}

// The library asks for a callback without an argument of its own, so the place of the guard among
// a session's own data has to be known to all.
int& place_of_guard() {
  static int index = -1;
  return index;
}

HandshakeGuard* guard_of(const SSL* session) {
  return static_cast<HandshakeGuard*>(SSL_get_ex_data(session, place_of_guard()));
}

}  // namespace

HandshakeGuard::HandshakeGuard(Tell tell) : tell_(std::move(tell)) {
  index_ = CRYPTO_get_ex_new_index(CRYPTO_EX_INDEX_SSL, 0, this, on_made, nullptr, on_freed);
  place_of_guard() = index_;
}

HandshakeGuard::~HandshakeGuard() { CRYPTO_free_ex_index(CRYPTO_EX_INDEX_SSL, index_); }

void HandshakeGuard::began(const SSL* session) {
  const std::lock_guard lock(mutex_);
  const Instant now = boot_time();
  cut_off_late(now);
  const int socket = SSL_get_fd(session);
  pending_[session] = {.socket = socket, .since = now, .peer = address_of(socket)};
}

// Its socket stays open as long as CAF's session does, which gone() ends: it is still this peer's.
void HandshakeGuard::cut_off_late(Instant now) {
  const auto older = [](const auto& a, const auto& b) { return a.second.since < b.second.since; };
  while (!pending_.empty()) {
    const auto oldest = std::min_element(pending_.begin(), pending_.end(), older);
    if (now - oldest->second.since < handshake_limit && pending_.size() < handshakes_max) return;
    tell_({.kind = HandshakeNews::Kind::cut_off,
           .side = side_of(oldest->first),
           .peer = oldest->second.peer,
           .words = "its handshake was not over in time"});
    ::shutdown(oldest->second.socket, SHUT_RDWR);
    pending_.erase(oldest);
  }
}

std::optional<HandshakeGuard::Pending> HandshakeGuard::take(const SSL* session) {
  const std::lock_guard lock(mutex_);
  const auto found = pending_.extract(session);
  return found ? std::optional(found.mapped()) : std::nullopt;
}

void HandshakeGuard::done(const SSL* session) {
  const auto pending = take(session);
  X509* shown = SSL_get0_peer_certificate(session);
  if (pending && shown != nullptr)
    tell_({.kind = HandshakeNews::Kind::member,
           .side = side_of(session),
           .peer = pending->peer,
           .words = words_of(shown)});
}

void HandshakeGuard::failed(const SSL* session) {
  const unsigned long error = ERR_peek_error();
  if (error == 0) return;  // it only waits for more
  if (const auto pending = take(session))
    tell_({.kind = HandshakeNews::Kind::refused,
           .side = side_of(session),
           .peer = pending->peer,
           .words = why_refused(session, error)});
  ERR_clear_error();
}

// In TLS 1.3 whoever dialled has finished before its own certificate is looked at.
void HandshakeGuard::told_off(const SSL* session, int alert) {
  constexpr int fatal = 2;
  if (SSL_is_server(session) == 1 || alert >> 8 != fatal) return;
  take(session);
  tell_({.kind = HandshakeNews::Kind::refused,
         .side = side_of(session),
         .peer = address_of(SSL_get_fd(session)),
         .words = std::string("it answered: ") + SSL_alert_desc_string_long(alert)});
}

void HandshakeGuard::gone(const SSL* session) {
  take(session);
  ERR_clear_error();
}

}  // namespace gpupool
