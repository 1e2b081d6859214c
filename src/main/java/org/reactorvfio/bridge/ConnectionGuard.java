package org.reactorvfio.bridge;

import io.netty.channel.Channel;
import io.netty.util.AttributeKey;
import io.netty.util.concurrent.ScheduledFuture;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * Closes connections that are too many, and those that do not come to the point: from the beginning, and from the end of a request on,
 * the head of the next one must arrive in time, however slowly its bytes drip.
 */
@SuppressWarnings("FutureReturnValueIgnored") // a channel that is closed is closed
final class ConnectionGuard {
  private static final AttributeKey<ScheduledFuture<?>> DEADLINE =
      AttributeKey.valueOf(ConnectionGuard.class, "deadline");

  /** How long those who are being answered when everything ends have for the rest. */
  private static final Duration LAST_WORDS = Duration.ofSeconds(1);

  private final int most;
  private final Duration patience;
  private final AtomicInteger open = new AtomicInteger();
  private final Set<Channel> channels = ConcurrentHashMap.newKeySet();
  private volatile boolean closing;

  ConnectionGuard(int most, Duration patience) {
    this.most = most;
    this.patience = patience;
  }

  /** A connection was accepted. On its own thread. */
  void accepted(Channel channel) {
    int now = open.incrementAndGet();
    channels.add(channel);
    channel.closeFuture().addListener(closed -> {
      open.decrementAndGet();
      channels.remove(channel);
      arrived(channel);
    });
    if (now > most || closing) {
      channel.close();
    } else {
      await(channel);
    }
  }

  /** A request has arrived. */
  void arrived(@Nullable Channel channel) {
    ScheduledFuture<?> deadline =
        channel == null ? null : channel.attr(DEADLINE).getAndSet(null);
    if (deadline != null) {
      deadline.cancel(false);
    }
  }

  /** A request has ended: the next one is awaited. */
  void await(Channel channel) {
    arrived(channel);
    if (closing) {
      channel.close();
    } else if (channel.isActive() || channel.isRegistered()) {
      channel
          .attr(DEADLINE)
          .set(channel
              .eventLoop()
              .schedule(
                  () -> {
                    channel.close();
                  },
                  patience.toMillis(),
                  TimeUnit.MILLISECONDS));
    }
  }

  /**
   * Lets nobody in any more: who says nothing goes at once, who is being answered when that has ended, or after a moment. Any thread.
   */
  void close() {
    closing = true;
    for (Channel channel : channels) {
      channel
          .eventLoop()
          .schedule(
              () -> {
                channel.close();
              },
              channel.attr(DEADLINE).get() == null ? LAST_WORDS.toMillis() : 0,
              TimeUnit.MILLISECONDS);
    }
  }

  int open() {
    return open.get();
  }
}
