package org.reactorvfio.soak;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.operations.Irqs;
import reactor.core.publisher.Flux;

/**
 * Subscribers that come late, ask now and then and go again, at any moment, whatever the device's owner does. What one that stays
 * counts begins behind what others had been given when it came, and before anything that was signalled later.
 */
final class Crowd {
  private static final int MOST = 24;

  private final Episode episode;
  private final Random random;
  private final List<Guest> guests = new ArrayList<>();

  Crowd(Episode episode, Random random) {
    this.episode = episode;
    this.random = random;
  }

  /**
   * A late subscriber.
   *
   * @param ledger whose signals it counts; null if that cannot be told
   * @param given how many of them others had been given before it came
   * @param before how many there were at most when it had come
   */
  private record Guest(Tally tally, @Nullable Ledger ledger, long given, long before) {}

  void mill() {
    while (!episode.closed()) {
      switch (random.nextInt(16)) {
        case 0, 1, 2, 3 -> come(episode.cards.get(random.nextInt(episode.cards.size())));
        case 4 -> {
          if (!guests.isEmpty()) {
            guests.remove(random.nextInt(guests.size())).tally.cancel();
          }
        }
        case 5, 6, 7, 8 -> {
          List<Tally> foreign = episode.foreign;
          for (Tally tally : foreign) {
            tally.request(1 + random.nextInt(5));
          }
        }
        case 9, 10 -> guests.removeIf(guest -> guest.tally.hasEnded() && balanced(guest));
        case 11, 12 -> {
          if (!guests.isEmpty()) {
            guests.get(random.nextInt(guests.size())).tally.request(1 + random.nextInt(3));
          }
        }
        default -> LockSupport.parkNanos(random.nextInt(50_000));
      }
    }
  }

  private void come(Card card) {
    if (guests.size() >= MOST) {
      return;
    }
    int index = card.index;
    if (card.leased && random.nextInt(3) == 0) {
      int vector = card.limit + random.nextInt(card.device.vectors(Irqs.MSIX) - card.limit);
      arrive(card.interrupts.msix().autoEnabled(vector), demand());
    } else if (card.merged && random.nextInt(3) == 0) {
      arrive(
          index == Irqs.MSI
              ? card.interrupts.msi().all()
              : card.interrupts.msix().all(),
          demand());
    } else {
      int vector = random.nextInt(card.device.vectors(index));
      Ledger ledger = card.device.ledger(index, vector);
      if (ledger != null && ledger.settled) {
        Flux<Interrupt> stream = switch (index) {
          case Irqs.INTX -> card.line();
          case Irqs.MSI -> card.interrupts.msi().vector(vector);
          default -> card.interrupts.msix().vector(vector);
        };
        // A line is not unmasked before everybody has asked.
        arrive(stream, index == Irqs.INTX ? Tally.Demand.ONE : demand(), card, ledger);
      }
    }
  }

  private Tally.Demand demand() {
    Tally.Demand[] all = Tally.Demand.values();
    return all[random.nextInt(all.length)];
  }

  private void arrive(Flux<Interrupt> stream, Tally.Demand demand) {
    Tally tally = new Tally(demand, i -> episode.check(i.count() > 0, "a count of " + i.count()));
    stream.subscribe(tally);
    guests.add(new Guest(tally, null, 0, 0));
  }

  private void arrive(Flux<Interrupt> stream, Tally.Demand demand, Card card, Ledger ledger) {
    long given = ledger.delivered.get();
    AtomicBoolean sure = new AtomicBoolean();
    Tally[] self = new Tally[1];
    self[0] = new Tally(demand, i -> {
      if (sure.get()) {
        card.verify(i, ledger, given + self[0].sum());
      }
    });
    stream.subscribe(self[0]);
    long before = ledger.written.get();
    // Unless it was armed anew meanwhile: then it counts something else.
    boolean same = card.device.ledger(ledger.index, ledger.vector) == ledger;
    sure.set(same);
    guests.add(new Guest(self[0], same ? ledger : null, given, before));
  }

  /** What one that has not cancelled has counted. */
  private boolean balanced(Guest guest) {
    Ledger ledger = guest.ledger;
    long sum = guest.tally.sum();
    // What is lost, refused or in conflict ends early.
    if (ledger != null && guest.tally.failure() == null) {
      long total = ledger.written.get();
      episode.check(
          sum >= total - guest.before && sum <= total - guest.given,
          "a late subscriber counted " + sum + ", " + guest + ": " + ledger);
      episode.totals.late.increment();
    }
    return true;
  }

  /** Balances the accounts of those who are still there when everything is closed. */
  void balance() {
    for (Guest guest : guests) {
      try {
        episode.check(guest.tally.drain(Episode.LIMIT), "a late subscriber's stream does not end");
      } catch (InterruptedException e) {
        throw new IllegalStateException(e);
      }
      balanced(guest);
    }
  }
}
