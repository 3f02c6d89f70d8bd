#pragma once
// What the caller of an external app shows for its lease: nobody guesses it who does not know the
// secret that its worker drew at its start. Pure.

#include <string>

#include "base/ids.h"

namespace gpupool {

// 48 hexadecimal digits: of this lease, and of no other that a worker with this secret has.
// Precondition: the secret has 32 bytes.
std::string lease_token(const std::string& secret, JobId job, std::uint32_t attempt);

// In the same time whatever they have in common.
bool is_same_secret(const std::string& one, const std::string& other);

}  // namespace gpupool
