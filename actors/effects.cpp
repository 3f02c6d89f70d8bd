#include "actors/effects.h"

namespace gpupool {

Send::Send(const Send& other) = default;
Send::Send(Send&& other) noexcept = default;
Send& Send::operator=(const Send& other) = default;
Send& Send::operator=(Send&& other) noexcept = default;
Send::~Send() = default;

Effects::Effects() = default;
Effects::Effects(const Effects& other) = default;
Effects::Effects(Effects&& other) noexcept = default;
Effects& Effects::operator=(const Effects& other) = default;
Effects& Effects::operator=(Effects&& other) noexcept = default;
Effects::~Effects() = default;

template <class Variant>
requires(!std::is_reference_v<Variant>) void Effects::to(Address address, Variant&& message) {
  send.emplace_back(address, std::in_place_type<Variant>, std::move(message));
}
template void Effects::to(Address, ToBroker&&);
template void Effects::to(Address, ToLedger&&);
template void Effects::to(Address, ToWorker&&);
template void Effects::to(Address, ToSession&&);
template void Effects::to(Address, ToClient&&);
template void Effects::to(Address, ToExecutors&&);
template void Effects::to(Address, ToConsole&&);
template void Effects::to(Address, ToGateway&&);
template void Effects::to(Address, ToHistory&&);
template void Effects::to(Address, ToDeviceApi&&);

}  // namespace gpupool
