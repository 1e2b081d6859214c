package org.reactorvfio.bridge;

import java.time.Duration;

/**
 * What a server allows its clients, so that none of them costs more than a bounded share of memory and time.
 *
 * @param connections how many connections there may be; more are closed at once
 * @param sessions how many devices may be in use by remote clients, those of broken connections included
 * @param streams how many streams a session may have, at most 4096
 * @param calls how many operations of a session may wait for their answer
 * @param messageBytes how long a frame or a request may be, in bytes, at least 1024
 * @param requestsPerSecond how many HTTP requests a token may make in a second; the same for all requests without a valid one
 * @param framesPerSecond how many frames of a connection are read in a second; the rest waits in the network
 * @param idle how long a connection may be silent, and how long a request may take to arrive
 * @param grace how long a session is kept after its connection broke
 */
public record BridgeLimits(
    int connections,
    int sessions,
    int streams,
    int calls,
    int messageBytes,
    int requestsPerSecond,
    int framesPerSecond,
    Duration idle,
    Duration grace) {
  private static final BridgeLimits DEFAULTS = new BridgeLimits(
      256, 64, 2304, 64, 64 * 1024, 100, 50_000, Duration.ofSeconds(60), Duration.ofSeconds(30));

  /** Checks the limits. */
  public BridgeLimits {
    if (connections < 1
        || sessions < 1
        || calls < 1
        || requestsPerSecond < 1
        || framesPerSecond < 1) {
      throw new IllegalArgumentException("a limit below 1 allows nothing");
    }
    if (streams < 1 || streams > Frame.MAX_STREAMS) {
      throw new IllegalArgumentException(
          "a session has 1 to " + Frame.MAX_STREAMS + " streams, not " + streams);
    }
    if (messageBytes < 1024) {
      throw new IllegalArgumentException(
          "a message needs at least 1024 bytes, not " + messageBytes);
    }
    if (idle.isNegative() || idle.isZero() || grace.isNegative()) {
      throw new IllegalArgumentException("idle " + idle + ", grace " + grace);
    }
  }

  /**
   * Returns the limits that a server has unless it is told others.
   *
   * @return 256 connections, 64 sessions of 2304 streams and 64 calls, messages of 64 KiB, 100 requests and 50,000 frames a second,
   *     60 s of silence, 30 s of grace
   */
  public static BridgeLimits defaults() {
    return DEFAULTS;
  }

  /**
   * Changes how many connections and sessions there may be.
   *
   * @param most connections
   * @param mostSessions sessions
   * @return the changed limits
   */
  public BridgeLimits withConnections(int most, int mostSessions) {
    return new BridgeLimits(
        most,
        mostSessions,
        streams,
        calls,
        messageBytes,
        requestsPerSecond,
        framesPerSecond,
        idle,
        grace);
  }

  /**
   * Changes how fast requests and frames may come.
   *
   * @param requests HTTP requests in a second
   * @param frames frames of a connection in a second
   * @return the changed limits
   */
  public BridgeLimits withRates(int requests, int frames) {
    return new BridgeLimits(
        connections, sessions, streams, calls, messageBytes, requests, frames, idle, grace);
  }

  /**
   * Changes how long silence and broken connections are borne.
   *
   * @param silence how long a connection may be silent
   * @param kept how long a session is kept after its connection broke
   * @return the changed limits
   */
  public BridgeLimits withTimes(Duration silence, Duration kept) {
    return new BridgeLimits(
        connections,
        sessions,
        streams,
        calls,
        messageBytes,
        requestsPerSecond,
        framesPerSecond,
        silence,
        kept);
  }
}
