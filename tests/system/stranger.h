#pragma once
// Who has no business at the node port of a pool: connects, sends what it likes or shakes hands
// with a certificate of its own, and sees whether it was put out. Every wait is bounded.

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <memory>
#include <string>

#include "config/config.h"
#include "net/certificate_authority.h"
#include "tests/system/pool_process.h"

namespace gpupool::test {

class StrangerAtTheDoor {
 public:
  explicit StrangerAtTheDoor(const std::string& address) {
    const auto parsed = parse_address(address);
    REQUIRE(parsed);
    sockaddr_in there{};
    there.sin_family = AF_INET;
    there.sin_port = htons(parsed->port);
    REQUIRE(inet_pton(AF_INET, parsed->host.c_str(), &there.sin_addr) == 1);
    REQUIRE(socket_ >= 0);
    REQUIRE(connect(socket_, reinterpret_cast<sockaddr*>(&there), sizeof there) == 0);
  }
  ~StrangerAtTheDoor() { close(socket_); }
  StrangerAtTheDoor(const StrangerAtTheDoor&) = delete;
  StrangerAtTheDoor& operator=(const StrangerAtTheDoor&) = delete;

  void send(const std::string& bytes) const {
    (void)::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }

  // Whether the other side has closed, whatever it said before.
  bool is_put_out(Duration limit) const {
    return wait_until(limit, [this] {
      char byte = 0;
      const ssize_t got = recv(socket_, &byte, 1, MSG_DONTWAIT);
      return got == 0 || (got < 0 && errno != EAGAIN);
    });
  }

  // What came back in the end: "" if it was let in and got something to read.
  std::string shake_hands(const CertifiedKey& own) const {
    const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_method()),
                                                                    SSL_CTX_free);
    use(*context, own);
    const std::unique_ptr<SSL, decltype(&SSL_free)> session(SSL_new(context.get()), SSL_free);
    SSL_set_fd(session.get(), socket_);
    const timeval limit{.tv_sec = 20, .tv_usec = 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    char byte = 0;
    ERR_clear_error();
    if (SSL_connect(session.get()) == 1 && SSL_read(session.get(), &byte, 1) == 1) return "";
    const char* reason = ERR_reason_error_string(ERR_get_error());
    return reason == nullptr ? "closed" : reason;
  }

 private:
  static void use(SSL_CTX& context, const CertifiedKey& own) {
    BIO* text = BIO_new_mem_buf(own.certificate.data(), static_cast<int>(own.certificate.size()));
    X509* certificate = PEM_read_bio_X509(text, nullptr, nullptr, nullptr);
    BIO* secret = BIO_new_mem_buf(own.key.data(), static_cast<int>(own.key.size()));
    EVP_PKEY* key = PEM_read_bio_PrivateKey(secret, nullptr, nullptr, nullptr);
    CHECK(SSL_CTX_use_certificate(&context, certificate) == 1);
    CHECK(SSL_CTX_use_PrivateKey(&context, key) == 1);
    EVP_PKEY_free(key);
    X509_free(certificate);
    BIO_free(secret);
    BIO_free(text);
  }

  const int socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
};

}  // namespace gpupool::test
