package org.reactorvfio.bridge;

import java.util.List;
import org.jspecify.annotations.Nullable;

/** One message of the protocol between a client and a server, in either direction: a binary WebSocket message each. */
sealed interface Frame {
  /** The protocol's version: both sides must have the same. */
  int VERSION = 1;

  /** How long a session's name is, in bytes. */
  int SESSION_LENGTH = 16;

  /** The most streams that a client can have. */
  int MAX_STREAMS = 4096;

  /** Asks for a session: a new one, or one that a broken connection has left. The first frame of a client. */
  record Hello(int version, Session session, List<Integer> streams) implements Frame {
    public Hello {
      streams = List.copyOf(streams);
    }
  }

  /** An operation of the table, by a number that its answer repeats. */
  record Call(int id, CallType type, Body body) implements Frame {}

  /** The client wants so many more elements of a stream. */
  record Request(int stream, long n) implements Frame {}

  /** Says that the client is there. */
  record Ping() implements Frame {}

  /** The client leaves for good. */
  record Goodbye() implements Frame {}

  /** The answer to {@link Hello}. */
  record Welcome(
      Session session,
      boolean resumed,
      String device,
      boolean isolated,
      int graceMillis,
      int messageBytes,
      int calls)
      implements Frame {}

  /** An operation's result. */
  record Result(int id, Body body) implements Frame {}

  /** An operation's failure. */
  record Failed(int id, Failure failure) implements Frame {}

  /** An element of a stream: how many signals its vector has had since it was armed. */
  record Signals(int stream, long total) implements Frame {}

  /** A stream has ended, because the owner disarmed its vector, or with a failure. */
  record Ended(int stream, @Nullable Failure failure) implements Frame {}

  /** The answer to {@link Ping}. */
  record Pong() implements Frame {}

  /** The device is closed or lost: nothing more comes. */
  record Closing(Failure failure) implements Frame {}
}
