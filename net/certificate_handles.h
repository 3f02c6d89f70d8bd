#pragma once
// libcrypto's objects, each with its own way to be freed, and its last complaint in words. Only
// net/certificate*.cpp include this.

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "base/freed_by.h"

namespace gpupool {

inline void free_certificates(STACK_OF(X509) * all) { sk_X509_pop_free(all, X509_free); }
inline void free_names(GENERAL_NAMES* all) { GENERAL_NAMES_free(all); }

using Bio = std::unique_ptr<BIO, FreedBy<BIO_free>>;
using Certificate = std::unique_ptr<X509, FreedBy<X509_free>>;
using SecretKey = std::unique_ptr<EVP_PKEY, FreedBy<EVP_PKEY_free>>;
using Certificates = std::unique_ptr<STACK_OF(X509), FreedBy<free_certificates>>;
using GeneralNames = std::unique_ptr<GENERAL_NAMES, FreedBy<free_names>>;

inline Bio reader_of(std::string_view text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

inline std::string written_to(const Bio& bio) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &bytes);
  return {bytes, static_cast<std::size_t>(size)};
}

// Empties the library's queue of errors, and gives the first.
inline std::string openssl_reason() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return reason == nullptr ? "no reason given" : reason;
}

// PEM whose secret is behind a passphrase is refused, never asked about at a terminal.
inline int no_passphrase(char*, int, int, void*) { return -1; }

inline SecretKey read_secret_key(std::string_view text) {
  const Bio bio = reader_of(text);
  SecretKey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (!key) ERR_clear_error();
  return key;
}

// Every certificate in the text, in order; ends at what is none.
inline Certificates read_certificates(std::string_view text) {
  constexpr int certificates_max = 32;
  const Bio bio = reader_of(text);
  Certificates all(sk_X509_new_null());
  while (sk_X509_num(all.get()) < certificates_max) {
    Certificate next(PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr));
    if (!next) break;
    sk_X509_push(all.get(), next.release());
  }
  ERR_clear_error();
  return all;
}

}  // namespace gpupool
