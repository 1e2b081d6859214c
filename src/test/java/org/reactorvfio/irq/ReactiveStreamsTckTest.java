package org.reactorvfio.irq;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.stream.Collectors;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.operations.Irqs;
import org.testng.ITestResult;
import org.testng.TestListenerAdapter;
import org.testng.TestNG;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/** Runs the Reactive Streams TCK, which is written for TestNG, for each of our publishers. */
class ReactiveStreamsTckTest {
  @ParameterizedTest
  @ValueSource(
      classes = {Vector.class, Merged.class, AutoEnabled.class, Intx.class, IntxHandled.class})
  void keepsTheRules(Class<?> verification) {
    TestListenerAdapter results = new TestListenerAdapter();
    TestNG tests = new TestNG(false);
    tests.setVerbose(0);
    tests.setTestClasses(new Class<?>[] {verification});
    tests.addListener(results);
    tests.run();
    assertThat(describe(results.getFailedTests())).isEmpty();
    assertThat(describe(results.getConfigurationFailures())).isEmpty();
    assertThat(describe(results.getPassedTests()))
        .contains(
            "required_spec101_subscriptionRequestMustResultInTheCorrectNumberOfProducedElements",
            "required_spec309_requestZeroMustSignalIllegalArgumentException",
            "required_spec303_mustNotAllowUnboundedRecursion",
            "required_spec313_cancelMustMakeThePublisherEventuallyDropAllReferencesToTheSubscriber");
  }

  private static List<String> describe(List<ITestResult> results) {
    return results.stream()
        .map(r -> r.getThrowable() == null ? r.getName() : r.getName() + ": " + r.getThrowable())
        .collect(Collectors.toList());
  }

  /** One vector. */
  public static final class Vector extends StreamVerification {
    @Override
    int index() {
      return Irqs.MSIX;
    }

    @Override
    Flux<? extends Interrupt> stream(Interrupts interrupts) {
      interrupts.msix().enable(1).onErrorComplete().block(LIMIT);
      return interrupts.msix().vector(0);
    }
  }

  /** All vectors. */
  public static final class Merged extends StreamVerification {
    @Override
    int index() {
      return Irqs.MSIX;
    }

    @Override
    Flux<? extends Interrupt> stream(Interrupts interrupts) {
      interrupts.msix().enable(1).onErrorComplete().block(LIMIT);
      return interrupts.msix().all();
    }
  }

  /** One vector, armed by its subscriber. */
  public static final class AutoEnabled extends StreamVerification {
    @Override
    int index() {
      return Irqs.MSIX;
    }

    @Override
    Flux<? extends Interrupt> stream(Interrupts interrupts) {
      return interrupts.msix().autoEnabled(0);
    }
  }

  /** INTx, acknowledged by hand. */
  public static final class Intx extends StreamVerification {
    @Override
    int index() {
      return Irqs.INTX;
    }

    @Override
    Flux<? extends Interrupt> stream(Interrupts interrupts) {
      interrupts.intx().enable().onErrorComplete().block(LIMIT);
      return interrupts.intx().interrupts();
    }

    @Override
    void handle(Interrupt interrupt) {
      ((IntxInterrupt) interrupt).acknowledge();
    }
  }

  /** INTx, handled. */
  public static final class IntxHandled extends StreamVerification {
    @Override
    int index() {
      return Irqs.INTX;
    }

    @Override
    Flux<? extends Interrupt> stream(Interrupts interrupts) {
      interrupts.intx().enable().onErrorComplete().block(LIMIT);
      return interrupts.intx().handle(i -> Mono.empty());
    }
  }
}
