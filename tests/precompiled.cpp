// Catch2's header is precompiled with this file, which has nothing of its own.
