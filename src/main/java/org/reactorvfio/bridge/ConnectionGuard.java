package org.reactorvfio.bridge;

import io.netty.channel.Channel;
import io.netty.util.AttributeKey;
import io.netty.util.concurrent.ScheduledFuture;
import java.time.Duration;
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

  private final int most;
  private final Duration patience;
  private final AtomicInteger open = new AtomicInteger();

  ConnectionGuard(int most, Duration patience) {
    this.most = most;
    this.patience = patience;
  }

  /** A connection was accepted. On its own thread. */
  void accepted(Channel channel) {
    int now = open.incrementAndGet();
    channel.closeFuture().addListener(closed -> {
      open.decrementAndGet();
      arrived(channel);
    });
    if (now > most) {
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
    if (channel.isActive() || channel.isRegistered()) {
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

  int open() {
    return open.get();
  }
}
