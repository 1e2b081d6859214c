package org.reactorvfio.bridge;

import java.security.SecureRandom;
import java.time.Duration;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import reactor.core.Disposable;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;
import reactor.util.Logger;
import reactor.util.Loggers;

/** The sessions of a server, by name; those without a connection are kept for a time. */
final class BridgeSessions {
  private static final Logger LOG = Loggers.getLogger(BridgeSessions.class);

  private final Session.Names names = new Session.Names(new SecureRandom());
  private final int most;
  private final Duration grace;
  private final Map<Session, Kept> kept = new HashMap<>();
  private int created;

  /** A session, whose it is, and what ends it. */
  private static final class Kept {
    final BridgeSession session;
    final Access.Token owner;
    final int number;

    @Nullable Disposable expiry;

    Kept(BridgeSession session, Access.Token owner, int number) {
      this.session = session;
      this.owner = owner;
      this.number = number;
    }
  }

  interface Maker {
    BridgeSession make(Session id);
  }

  BridgeSessions(int most, Duration grace) {
    this.most = most;
    this.grace = grace;
  }

  /** Makes a session; null if there are too many. */
  synchronized @Nullable BridgeSession create(Access.Token owner, Maker maker) {
    if (kept.size() >= most) {
      return null;
    }
    BridgeSession session = maker.make(names.next());
    kept.put(session.id, new Kept(session, owner, ++created));
    return session;
  }

  /** Finds a session of this owner and this device, and keeps it from expiring; null if there is none. */
  synchronized @Nullable BridgeSession find(Session id, Access.Token owner, Export export) {
    Kept found = kept.get(id);
    if (found == null || !found.owner.equals(owner) || !found.session.export().equals(export)) {
      return null;
    }
    if (found.expiry != null) {
      found.expiry.dispose();
      found.expiry = null;
    }
    return found.session;
  }

  /** A connection has gone: its session is kept for a time, if it has no other connection by now. */
  synchronized void disconnected(BridgeSession session, Outbox connection) {
    Kept found = kept.get(session.id);
    if (session.disconnect(connection) && found != null) {
      found.expiry = Schedulers.parallel()
          .schedule(() -> expire(session), grace.toMillis(), TimeUnit.MILLISECONDS);
    }
  }

  private void expire(BridgeSession session) {
    synchronized (this) {
      Kept found = kept.get(session.id);
      if (found == null || session.connected()) {
        return;
      }
      kept.remove(session.id);
    }
    LOG.info("a remote user of {} did not come back", session.export().name());
    session.end().subscribe(null, e -> LOG.warn("ending a session failed", e));
  }

  /** Ends a session for good. */
  Mono<Void> end(BridgeSession session) {
    return Mono.defer(() -> {
      synchronized (this) {
        kept.remove(session.id);
      }
      return session.end();
    });
  }

  /** Ends the sessions of a device, or all. */
  Mono<Void> endAll(@Nullable Export export, Throwable cause) {
    return Mono.defer(() -> {
      List<BridgeSession> ending;
      synchronized (this) {
        ending = kept.values().stream()
            .map(each -> each.session)
            .filter(session -> export == null || session.export().equals(export))
            .toList();
        ending.forEach(session -> Objects.requireNonNull(kept.remove(session.id)));
      }
      ending.forEach(session -> session.close(cause));
      return Flux.fromIterable(ending).flatMap(BridgeSession::end).then();
    });
  }

  /** A session, and a number to tell it by: its name is a secret. */
  record Numbered(int number, BridgeSession session) {}

  /** The sessions of a device, the eldest first. */
  synchronized List<Numbered> of(Export export) {
    return kept.values().stream()
        .filter(each -> each.session.export().equals(export))
        .map(each -> new Numbered(each.number, each.session))
        .sorted(Comparator.comparingInt(Numbered::number))
        .toList();
  }

  synchronized int count() {
    return kept.size();
  }
}
